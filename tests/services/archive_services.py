"""A sample archive put where real ones are: its items in a STAC API, its files in a bucket."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import botocore.session
import requests
from botocore.config import Config

COLLECTION = "sentinel-2-l2a"


def s3_client(url: str, user: str = "geoduct") -> Any:
    """botocore's client of an S3 server, as one of the users whose keys `s3.sh` tells of."""
    return botocore.session.get_session().create_client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=user,
        aws_secret_access_key=f"{user}-secret",
        config=Config(s3={"addressing_style": "path"}),
    )


def upload(folder: Path, url: str, prefix: str, bucket: str = "geoduct") -> str:
    """Put all files below a folder into a bucket; returns the `s3://` URL of the folder there."""
    client = s3_client(url)
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]

    def put(path: Path) -> None:
        client.put_object(Bucket=bucket, Key=f"{prefix}/{path.relative_to(folder)}", Body=path.read_bytes())

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(put, files))
    return f"s3://{bucket}/{prefix}"


def publish(archive: Path, url: str, base: str, collection: str = COLLECTION) -> None:
    """Put the archive's collection and items into a STAC API, in place of an older one; their files lie at `base`."""
    requests.delete(f"{url}/collections/{collection}", timeout=30)
    folder = archive / COLLECTION
    document = json.loads((folder / "collection.json").read_text())
    _send(f"{url}/collections", {**document, "id": collection, "links": []})
    for file in sorted(folder.glob("*/*.json")):
        item = json.loads(file.read_text())
        for asset in item["assets"].values():
            asset["href"] = f"{base}/{(file.parent / asset['href']).resolve().relative_to(archive.resolve())}"
        _send(f"{url}/collections/{collection}/items", {**item, "collection": collection, "links": []})


def _send(url: str, document: dict[str, Any]) -> None:
    answer = requests.post(url, json=document, timeout=30)
    assert answer.ok, answer.text
