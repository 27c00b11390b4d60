"""Weights from a server that answers as Hugging Face does; the service itself is not asked."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from components.__main__ import dispatch
from components.artifacts import Weights
from components.errors import GeoductError
from components.finetune.weights import load_backbone
from components.weights.download import PART
from components.weights.published import FILES
from tests.services.range_server import Answer, RangeServer

NAME = "prithvi_eo_v2_tiny_tl"
REPOSITORY, FILE = FILES[NAME]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(RangeServer):
    """One repository: its API, its redirect to where the bytes lie, and the bytes. `change` alters its words."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, self._gate)
        self.file = folder / "cdn" / "blob"
        self.change: Callable[[dict[str, Any]], Any] = lambda told: told
        self.refuse = False
        self.missing = False

    def _gate(self, path: str, query: str, headers: dict[str, str]) -> Answer | None:
        if self.missing:
            return Answer(404, {"error": "Repository not found"})
        if path.startswith(f"/api/models/{REPOSITORY}/revision/main"):
            content = self.file.read_bytes()
            blob = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
            siblings = [{"rfilename": "README.md", "size": 3}, {"rfilename": FILE, "size": len(content), "lfs": blob}]
            card = {"license": "apache-2.0"}
            return Answer(200, self.change({"sha": COMMIT, "cardData": card, "siblings": siblings}))
        if path == f"/{REPOSITORY}/resolve/{COMMIT}/{FILE}":
            return Answer(302, "", {"Location": "/cdn/blob"})
        beyond = not headers.get("range", "").startswith("bytes=0-")
        return Answer(403, "no more") if self.refuse and beyond else None


@pytest.fixture(scope="module")
def source() -> Any:
    """The backbone whose weights are published."""
    from terratorch.registry import BACKBONE_REGISTRY

    torch.manual_seed(1)
    return BACKBONE_REGISTRY.build(NAME, pretrained=False)


@pytest.fixture
def hub(tmp_path: Path, source: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    (tmp_path / "hub" / "cdn").mkdir(parents=True)
    published = {f"encoder.{name}": values for name, values in source.state_dict().items()}
    torch.save({**published, "decoder.mask_token": torch.zeros(1, 1, 8)}, tmp_path / "hub" / "cdn" / "blob")
    with Hub(tmp_path / "hub") as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


def fetch(place: Path, *more: str) -> Weights:
    assert dispatch(["weights", "fetch", NAME, "--to", str(place), *more]) == 0
    return Weights.open(place)


def test_fetched_weights_are_those_published(tmp_path: Path, hub: Hub, source: Any, capsys: Any) -> None:
    from terratorch.registry import BACKBONE_REGISTRY

    weights = fetch(tmp_path / "weights")
    told = weights.pretraining
    sha256 = hashlib.sha256(hub.file.read_bytes()).hexdigest()
    assert (told.origin.revision, told.origin.licence, told.origin.sha256) == (COMMIT, "apache-2.0", sha256)
    assert told.origin.url == f"{hub.url}/{REPOSITORY}/resolve/{COMMIT}/{FILE}"
    assert told.bands == ("BLUE", "GREEN", "RED", "NIR_NARROW", "SWIR_1", "SWIR_2")
    assert told.statistics is not None
    assert told.statistics["BLUE"] == {"mean": 1087.0, "std": 2248.0}
    assert sorted(p.name for p in weights.path.iterdir()) == ["geoduct.json", "weights.json", "weights.safetensors"]
    assert "1 of the pretraining's own head left out" in capsys.readouterr().err
    weights.verify()

    torch.manual_seed(2)
    target = BACKBONE_REGISTRY.build(NAME, pretrained=False)
    load_backbone(target, weights)
    assert all(torch.equal(values, source.state_dict()[name]) for name, values in target.state_dict().items())
    assert fetch(tmp_path / "again").digest == weights.digest


def test_a_download_that_broke_off_goes_on(tmp_path: Path, hub: Hub) -> None:
    hub.refuse = True
    with pytest.raises(GeoductError, match=r"HTTP 403 .* the same command goes on from what has come"):
        fetch(tmp_path / "weights")
    assert not (tmp_path / "weights").exists()
    size = hub.file.stat().st_size
    assert hub.sent("/cdn/blob") < size
    hub.refuse = False
    hub.requests.clear()
    fetch(tmp_path / "weights")
    assert hub.sent("/cdn/blob") == size - PART
    assert [p.name for p in tmp_path.iterdir() if p.name.endswith(".partial")] == []


def test_url_of_a_mirror(tmp_path: Path, hub: Hub) -> None:
    origin = fetch(tmp_path / "weights", "--url", f"{hub.url}/cdn/blob?token=secret").pretraining.origin
    assert (origin.url, origin.revision) == (f"{hub.url}/cdn/blob", None)
    assert origin.sha256 == hashlib.sha256(hub.file.read_bytes()).hexdigest()


def other_checksum(told: dict[str, Any]) -> dict[str, Any]:
    told["siblings"][1]["lfs"]["sha256"] = "0" * 64
    return told


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (other_checksum, "are announced; fetch it again"),
        (lambda told: {**told, "siblings": told["siblings"][:1]}, f"has no file '{FILE}' at revision 'main'"),
        (lambda told: "<html>", "does not answer as Hugging Face does"),
        (lambda told: {"error": "gone"}, "does not answer as Hugging Face does"),
    ],
)
def test_answers_that_will_not_do(tmp_path: Path, hub: Hub, change: Any, words: str) -> None:
    hub.change = change
    with pytest.raises(GeoductError) as refusal:
        fetch(tmp_path / "weights")
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "weights").exists()


def test_server_without_the_repository(tmp_path: Path, hub: Hub) -> None:
    hub.missing = True
    with pytest.raises(GeoductError, match=r"HTTP 404 Not Found; without internet, .* HF_ENDPOINT or --url"):
        fetch(tmp_path / "weights")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["fetch", "prithvi_v2_tiny_tl"], "did you mean 'prithvi_eo_v2_tiny_tl'?"),
        (["fetch"], "usage: geoduct weights fetch"),
        (["fetch", NAME, "--too", "x"], "did you mean '--to'?"),
        (["fetsch", NAME], "did you mean 'fetch'?"),
        (["fetch", NAME, "--url", "http://127.0.0.1:1/x", "--to", "http://somewhere/x"], "expected a path"),
    ],
)
def test_misspelt_commands(words: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(GeoductError) as refusal:
        dispatch(["weights", *words])
    assert sentence in str(refusal.value)


def test_table_is_terratorchs() -> None:
    from terratorch.models.backbones.prithvi_vit import pretrained_weights as prithvi
    from terratorch.models.backbones.terramind.model.terramind_register import pretrained_weights as terramind
    from torchgeo.models import ResNet18_Weights, ResNet50_Weights

    for name, (repository, file) in FILES.items():
        if known := {**prithvi, **terramind}.get(name):
            assert (repository, file) == (known["hf_hub_id"], known["hf_hub_filename"])
        else:
            family = ResNet18_Weights if "resnet18" in name else ResNet50_Weights
            url = family.SENTINEL2_ALL_MOCO.url
            assert url.startswith(f"https://hf.co/{repository}/resolve/")
            assert url.endswith(f"/{file}")
