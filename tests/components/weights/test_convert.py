"""A checkpoint of somebody else's becomes Weights, or one sentence says why not."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from components.__main__ import dispatch
from components.artifacts import Weights
from components.errors import GeoductError
from components.finetune.weights import load_backbone
from tests.components.finetune.backbones import TINY, prithvi

NAME = "prithvi_eo_v2_tiny_tl"
SMALL = ["embed_dim=32", "depth=2", "num_heads=2"]


def convert(file: Path, to: Path, *more: str, arguments: list[str] = SMALL) -> Weights:
    words = ["weights", "convert", str(file), "--backbone", NAME, "--to", str(to), "--size", "32"]
    assert dispatch([*words, *more, "--arguments", *arguments]) == 0
    return Weights.open(to)


def masked_autoencoder() -> Any:
    """A whole one, with its decoder, as it is published."""
    from terratorch.registry import FULL_MODEL_REGISTRY

    torch.manual_seed(1)
    decoder = {"decoder_embed_dim": 16, "decoder_depth": 1, "decoder_num_heads": 2}
    return FULL_MODEL_REGISTRY.build("prithvi_eo_v2_tiny_tl_mae", pretrained=False, **TINY, **decoder)


@pytest.mark.parametrize("form", ["plain", "nested", "timm", "safetensors"])
def test_same_tensors_as_terratorch_loads_from_the_file(tmp_path: Path, form: str) -> None:
    tensors = masked_autoencoder().state_dict()
    plain = tmp_path / "plain.pt"
    torch.save(tensors, plain)
    file = tmp_path / f"file.{'safetensors' if form == 'safetensors' else 'pth'}"
    if form == "safetensors":
        save_file(tensors, file)
    elif form == "nested":
        torch.save({"epoch": 3, "state_dict": {f"module.{name}": t for name, t in tensors.items()}}, file)
    elif form == "timm":
        named = {name.replace("encoder.", "encoder._timm_module."): t for name, t in tensors.items()}
        torch.save(named, file)
    else:
        torch.save(tensors, file)
    torch.manual_seed(2)
    theirs = prithvi(pretrained=True, ckpt_path=str(plain), bands=["RED", "BLUE"])
    torch.manual_seed(2)
    ours = prithvi(bands=["RED", "BLUE"])
    weights = convert(file, tmp_path / "weights", "--licence", "CC0-1.0")
    load_backbone(ours, weights, ["RED", "BLUE"])
    assert all(torch.equal(t, ours.state_dict()[name]) for name, t in theirs.state_dict().items())
    told = weights.pretraining
    assert (told.backbone, told.size, told.origin.licence) == (NAME, 32, "CC0-1.0")
    assert told.origin.text == f"converted from {file.name}"
    assert told.arguments == {"embed_dim": 32, "depth": 2, "num_heads": 2}
    assert not any("decoder" in name for name in weights.tensors())


class Payload:
    """What a pickle could do to us."""

    def __reduce__(self) -> Any:
        return (Path.touch, (Path("/tmp/geoduct-executed"),))


def bad_files(folder: Path) -> dict[Path, str]:
    good = folder / "good.pt"
    torch.save(prithvi().state_dict(), good)
    content = good.read_bytes()
    files = {
        "missing.pt": (None, "does not exist or is no file"),
        "cut.pt": (content[: len(content) // 2], "is truncated or damaged"),
        "empty.pt": (b"", "is truncated or damaged"),
        "cut.safetensors": (b"\x10\0\0\0\0\0\0\0{", "is truncated or no safetensors file"),
        "notes.pt": (b"these are no weights\n" * 9, "is no checkpoint"),
        "code.pt": (_saved({"a": Payload()}), "is pickled with code (getattr)"),
        "pickle.pt": (pickle.dumps({"a": Payload()}), "is a pickle that torch does not write"),
        "list.pt": (_saved([torch.zeros(1)]), "holds a list; expected tensors by name"),
        "numbers.pt": (_saved({"epoch": 1, "lr": 0.1}), "holds float, int; expected the tensors of a network"),
        "nothing.pt": (_saved({}), "holds nothing; expected the tensors"),
    }
    for name, (data, _) in files.items():
        if data is not None:
            (folder / name).write_bytes(data)
    return {folder / name: words for name, (_, words) in files.items()}


def _saved(what: Any) -> bytes:
    import io

    buffer = io.BytesIO()
    torch.save(what, buffer)
    return buffer.getvalue()


def test_files_that_are_no_checkpoints(tmp_path: Path) -> None:
    for file, words in bad_files(tmp_path).items():
        with pytest.raises(GeoductError) as refusal:
            convert(file, tmp_path / "weights")
        assert str(file) in str(refusal.value)
        assert words in str(refusal.value), refusal.value
        assert "\n" not in str(refusal.value)
    assert not Path("/tmp/geoduct-executed").exists()
    assert not (tmp_path / "weights").exists()
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize(
    ("arguments", "more", "words"),
    [
        (["embed_dim=64", "depth=2", "num_heads=2"], [], "has shape (1, 1, 32); the network expects (1, 1, 64)"),
        (["embed_dim=32", "depth=3", "num_heads=2"], [], "lacks 12 of the network's 44 tensors"),
        (["embed_dim=32", "depth=1", "num_heads=2"], [], "has 12 tensors that the network does not know"),
        (["embed_dim=32", "depth=2", "num_heads=5"], [], "cannot be built with the bands BLUE"),
        (["embed_dim 32"], [], "expected key=value"),
        (SMALL, ["--bands", "B02", "B03"], "has shape (32, 6, 1, 16, 16)"),
        (SMALL, ["--backbone", "prithvi_eo_v2_tiny"], "did you mean 'terratorch_prithvi_eo_v2_tiny_tl'?"),
        (SMALL, ["--backbone", "resnet18"], "the bands that 'resnet18' was pre-trained on are not known"),
    ],
)
def test_weights_of_something_else(tmp_path: Path, arguments: list[str], more: list[str], words: str) -> None:
    torch.save(prithvi().state_dict(), tmp_path / "file.pt")
    with pytest.raises(GeoductError) as refusal:
        convert(tmp_path / "file.pt", tmp_path / "weights", *more, arguments=arguments)
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "weights").exists()
