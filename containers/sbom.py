"""Lists what is in an image as CycloneDX JSON: its Python packages and its Debian packages. Runs inside the build."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

PYTHON = "/opt/geoduct/bin/python"


def debian_packages() -> list[dict[str, Any]]:
    """Components for what dpkg has installed, named by package URL."""
    fields = "${Package}\t${Version}\t${Architecture}\t${db:Status-Status}\n"
    listed = subprocess.run(
        ["dpkg-query", "--show", f"--showformat={fields}"], check=True, capture_output=True, text=True
    )
    rows = (line.split("\t") for line in listed.stdout.splitlines())
    return [
        {
            "type": "library",
            "bom-ref": f"deb:{name}={version}",
            "name": name,
            "version": version,
            "purl": f"pkg:deb/debian/{name}@{version}?arch={architecture}".replace("+", "%2B"),
        }
        for name, version, architecture, status in rows
        if status == "installed"
    ]


def main() -> None:
    """Write the list to the path given."""
    out = Path(sys.argv[1])
    tool = Path(sys.executable).parent / "cyclonedx-py"
    asked = [str(tool), "environment", "--output-reproducible", "--pyproject", "/mnt/pyproject.toml", "--of", "JSON"]
    subprocess.run([*asked, "-o", str(out), PYTHON], check=True)
    bom = json.loads(out.read_text())
    bom["components"] += debian_packages()
    out.write_text(json.dumps(bom, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
