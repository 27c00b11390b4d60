"""Artifacts on object storage: `s3://bucket/key` wherever a path may stand.

An artifact is fetched whole before it is read, and uploaded whole after it is written: every component reads all of
its inputs, artifacts are few large files, and so the rest of Geoduct sees local files only, at their speed. What has
been fetched stays in a cache, under the checksum of its manifest, and is fetched once. All or nothing holds here too:
the manifest is removed first and written last, and without it nothing opens.

Endpoint, region and credentials come from the standard AWS variables and profiles.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components import storage
from components.errors import GeoductError, one
from components.progress import track

if TYPE_CHECKING:
    from s3fs import S3FileSystem

SCHEME = "s3://"
TRANSFERS = 8
"""Files in transfer at a time; one alone does not fill a connection to a distant store."""
PART = 32 * 2**20
"""Bytes of one part of an upload."""
_UNFINISHED = ".geoduct-unfinished"
"""Lies beside files whose upload is under way, or was killed: they are ours to replace."""


def is_object(location: str) -> bool:
    """Whether a location is on object storage."""
    return location.startswith(SCHEME)


def cache() -> Path:
    """Where fetched artifacts stay and results wait for upload: `$GEODUCT_CACHE`, else in the user's cache folder."""
    if named := os.environ.get("GEODUCT_CACHE"):
        return Path(named).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser().absolute() / "geoduct"


def staging_place(url: str) -> Path:
    """Where, in the cache, a result is staged that goes to `url`."""
    return (
        cache() / "results" / hashlib.sha256(url.rstrip("/").encode()).hexdigest()[:16] / url.rstrip("/").split("/")[-1]
    )


def fetch(url: str, kind: str | None, manifest_name: str, *, anew: bool = False) -> Path:
    """A local copy of a finished artifact (of any kind if `kind` is none), every file compared with its manifest.

    `anew` fetches even what the cache holds.

    Raises:
        GeoductError: nothing finished is there, it is of another kind, it is damaged, or the store refuses us.
    """
    store = _store()
    with _plain_errors(url, "read"):
        try:
            text = _text(store, url, manifest_name)
        except FileNotFoundError:
            _bucket(store, url)
            raise GeoductError(f"{url} is no finished {kind or 'artifact'}: it has no {manifest_name}") from None
    manifest = _parse(text, f"{url.rstrip('/')}/{manifest_name}")
    if kind and manifest.get("kind") != kind:
        raise GeoductError(f"{url} is {one(str(manifest.get('kind')))}, but {one(kind)} is expected here")
    place = cache() / "artifacts" / hashlib.sha256(text).hexdigest()[:32]
    if anew:
        storage.remove(place)
    if (place / manifest_name).is_file():
        return place
    staged = storage.stage(place, place.name)
    files: dict[str, dict[str, Any]] = manifest["files"]

    def get(name: str) -> None:
        target = staged / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_file() and _sha256(target) == files[name]["sha256"]:
            return  # a killed run had it already
        store.get_file(f"{url.rstrip('/')}/{name}", str(target))
        if _sha256(target) != files[name]["sha256"]:
            target.unlink()
            raise GeoductError(f"{url} is damaged: {name} differs from its manifest")

    with _plain_errors(url, "read"):
        staged.mkdir(exist_ok=True)
        _transfer(get, files, f"fetch {url}")
        (staged / manifest_name).write_bytes(text)
        storage.publish(staged, place)
    return place


def manifest(url: str, manifest_name: str) -> dict[str, Any] | None:
    """The manifest of the artifact at `url`, if a finished one is there.

    A bucket that may be read and not listed, as public ones often are, denies what it does not have: none is there.

    Raises:
        GeoductError: the store does not know us, or what is there is no manifest.
    """
    with _plain_errors(url, "read"):
        try:
            text = _text(_store(), url, manifest_name)
        except FileNotFoundError:
            return None
        except PermissionError as error:
            if _code(error) != "AccessDenied":
                raise
            return None
    return _parse(text, f"{url.rstrip('/')}/{manifest_name}")


def refuse_foreign(url: str, flag: str, manifest_name: str) -> None:
    """See, before anything is computed, that `url` can be written and that nothing foreign would be replaced.

    Raises:
        GeoductError: the bucket is absent or read-only, or what is there is no artifact.
    """
    store = _store()
    with _plain_errors(url, "written"):
        _bucket(store, url)
        found = _names(store, url)
        if found and not found & {manifest_name, _UNFINISHED}:
            raise GeoductError(f"{url} exists and is no Geoduct artifact; remove it or choose another {flag}")
        if _UNFINISHED not in found:
            store.pipe_file(f"{url.rstrip('/')}/{_UNFINISHED}", b"")
            store.rm_file(f"{url.rstrip('/')}/{_UNFINISHED}")


def put(folder: Path, url: str, manifest_name: str) -> None:
    """Upload a sealed artifact, the manifest last, in place of the one that was there.

    Raises:
        GeoductError: the store refuses us, or what it holds afterwards is not what was sent; nothing opens then.
    """
    store, root = _store(), url.rstrip("/")
    files = {p.relative_to(folder).as_posix(): p for p in sorted(folder.rglob("*")) if p.is_file()}
    manifest = files.pop(manifest_name)
    with _plain_errors(url, "written"), _nothing_left(store, root, files):
        before = _names(store, url)
        store.pipe_file(f"{root}/{_UNFINISHED}", b"")
        if manifest_name in before:
            store.rm_file(f"{root}/{manifest_name}")
        for name in sorted(before - files.keys() - {manifest_name, _UNFINISHED}):
            store.rm_file(f"{root}/{name}")
        _transfer(lambda name: store.put_file(str(files[name]), f"{root}/{name}", chunksize=PART), files, f"put {url}")
        store.invalidate_cache()
        sizes = {name: entry["size"] for name, entry in _listing(store, url).items()}
        for name, path in files.items():
            if sizes.get(name) != path.stat().st_size:
                raise GeoductError(
                    f"{url} was not written whole: {name} has {sizes.get(name, 0)} bytes there, "
                    f"{path.stat().st_size} were sent"
                )
        store.put_file(str(manifest), f"{root}/{manifest_name}")
        store.rm_file(f"{root}/{_UNFINISHED}")


@contextmanager
def _nothing_left(store: S3FileSystem, root: str, names: Iterable[str]) -> Iterator[None]:
    """After an upload that failed, remove what it has written, as far as the store still lets us."""
    try:
        yield
    except BaseException:
        for name in (*names, _UNFINISHED):
            with suppress(Exception):
                store.rm_file(f"{root}/{name}")
        raise


def _store() -> S3FileSystem:
    from s3fs import S3FileSystem

    return S3FileSystem(
        use_listings_cache=False,
        skip_instance_cache=True,
        anon=os.environ.get("AWS_NO_SIGN_REQUEST", "").lower() in ("yes", "true", "1"),
        requester_pays=os.environ.get("AWS_REQUEST_PAYER") == "requester",
        config_kwargs={"retries": {"mode": "standard", "max_attempts": 5}, "max_pool_connections": 2 * TRANSFERS},
    )


def _text(store: S3FileSystem, url: str, name: str) -> bytes:
    """A small file of an artifact, as a range: for a whole one s3fs asks by HEAD first, which would not say why not."""
    return bytes(store.cat_file(f"{url.rstrip('/')}/{name}", start=0))


def _bucket(store: S3FileSystem, url: str) -> None:
    bucket = url.removeprefix(SCHEME).split("/")[0]
    try:
        store.call_s3("list_objects_v2", Bucket=bucket, MaxKeys=1)  # a HEAD would not say why it is denied
    except FileNotFoundError:
        raise GeoductError(f"{url}: there is no bucket {bucket!r} at this endpoint") from None


def _listing(store: S3FileSystem, url: str) -> dict[str, dict[str, Any]]:
    root = url.removeprefix(SCHEME).rstrip("/")
    try:
        found = store.find(root, detail=True)
    except FileNotFoundError:
        return {}
    return {name.removeprefix(root + "/"): entry for name, entry in found.items()}


def _names(store: S3FileSystem, url: str) -> set[str]:
    return set(_listing(store, url))


def _transfer(move: Callable[[str], None], names: Iterable[str], label: str) -> None:
    """Move files in threads, and tell how far it is; the first that fails ends it all."""
    with ThreadPoolExecutor(TRANSFERS) as pool:
        moves: list[Future[None]] = [pool.submit(move, name) for name in names]
        try:
            for done in track(as_completed(moves), total=len(moves), label=label):
                done.result()
        finally:
            for one in moves:
                one.cancel()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _parse(text: bytes, where: str) -> dict[str, Any]:
    try:
        manifest = json.loads(text)
        files = {name: entry["sha256"] for name, entry in manifest["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise GeoductError(f"{where} is not a manifest") from None
    if escaping := [name for name in files if name.startswith("/") or ".." in name.split("/")]:
        raise GeoductError(f"{where} is not a manifest: it names {escaping[0]!r}, which lies outside the artifact")
    return dict(manifest)


_DENIED = {
    "InvalidAccessKeyId": "the access key is unknown",
    "SignatureDoesNotMatch": "the secret key is wrong",
    "ExpiredToken": "the session token has expired",
    "RequestTimeTooSkewed": "this machine's clock is wrong",
}
_FULL = ("QuotaExceeded", "ServiceQuotaExceeded", "EntityTooLarge", "InsufficientCapacity", "XMinioStorageFull")


def _code(error: BaseException) -> str:
    """What the store calls an error that s3fs has translated, such as AccessDenied; nothing where it does not say."""
    from botocore.exceptions import ClientError

    cause = error.__cause__
    return str(cause.response.get("Error", {}).get("Code", "")) if isinstance(cause, ClientError) else ""


@contextmanager
def _plain_errors(url: str, done: str) -> Iterator[None]:
    """What a store refuses, in one sentence without credentials."""
    from botocore.exceptions import BotoCoreError, ClientError, ConnectionError, NoCredentialsError, ProfileNotFound

    try:
        yield
    except GeoductError:
        raise
    except (NoCredentialsError, ProfileNotFound) as error:
        raise GeoductError(
            f"{url} cannot be {done}: there are no credentials ({error}); set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        ) from None
    except ConnectionError as error:
        raise GeoductError(f"{url} cannot be {done}: {error}") from None
    except (OSError, BotoCoreError) as error:
        code = _code(error)
        if isinstance(error, PermissionError):
            raise GeoductError(
                f"{url} cannot be {done}: the store denies it ({_DENIED.get(code) or code or 'forbidden'})"
            ) from None
        if code in _FULL:
            raise GeoductError(f"{url} cannot be {done}: the bucket is full ({code})") from None
        if isinstance(error, FileNotFoundError):
            raise GeoductError(f"{url} cannot be {done}: {error} is not there") from None
        if isinstance(error.__cause__, ClientError) or isinstance(error, BotoCoreError):
            raise GeoductError(f"{url} cannot be {done}: {code or error}") from None
        raise
