"""The tool `geoduct weights fetch`: published weights, downloaded, checked, and kept as an artifact."""

from __future__ import annotations

from typing import TYPE_CHECKING

from components.contract import Output

if TYPE_CHECKING:
    from components.artifacts import Weights


def fetch(to: Output[Weights], *, backbone: str = "", url: str | None = None, revision: str = "main") -> None:
    """Download the published weights of a backbone, and keep them as an artifact that finetune reads.

    Meant for a machine with internet, such as a login node: no job downloads anything. What has come is kept when the
    network fails, and the same command goes on from there. The file is compared with the checksum that Hugging Face
    announces, read without executing anything in it, and tried on the backbone.

    Args:
        to: the weights
        backbone: its name in TerraTorch's registry
        url: of the file itself, where it is not to come from Hugging Face
        revision: branch, tag or commit on Hugging Face; what it stands for is recorded
    """
    from components import storage
    from components.artifacts.weights import Origin
    from components.remote.client import Client, shown
    from components.weights.backbone import describe, write
    from components.weights.checkpoint import read_tensors
    from components.weights.download import Remote, download, find
    from components.weights.published import SIZE, place_of

    repository, name = place_of(backbone)
    client = Client()
    remote = Remote(url) if url else find(client, repository, name, revision)
    place = to.path / "download"
    file = place / f"{(remote.revision or 'given')[:12]}-{name}"
    sha256 = download(client, remote, file)
    origin = Origin(f"published as {repository}, {name}", shown(remote.url), remote.revision, remote.licence, sha256)
    write(to.path, describe(backbone, None, SIZE, origin, {}), read_tensors(file), remote.url)
    storage.remove(place)
