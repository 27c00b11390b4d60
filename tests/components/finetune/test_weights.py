"""Pre-trained tensors land where TerraTorch itself puts them, and nothing is skipped silently."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from components.errors import GeoductError
from components.finetune.weights import load_backbone, match, rename
from tests.components.finetune.backbones import HLS, prithvi, weights_of


def _equal(one: Any, other: Any) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def _seeded(number: int, **arguments: Any) -> Any:
    torch.manual_seed(number)
    return prithvi(**arguments)


@pytest.mark.parametrize(
    ("bands", "more"),
    [
        (HLS, {}),
        (("SWIR_2", "RED"), {}),  # fewer, in another order
        (("RED", "RED_EDGE_1", "BLUE"), {}),  # one that the weights do not know: random, but the same random numbers
        (HLS, {"img_size": 64}),  # another position embedding
        (HLS, {"coords_encoding": []}),  # weights of date and place to spare
    ],
)
def test_same_tensors_as_terratorch_loads(tmp_path: Path, bands: tuple[str, ...], more: dict[str, Any]) -> None:
    source = _seeded(1)
    torch.save(source.state_dict(), tmp_path / "source.pt")
    theirs = _seeded(2, bands=list(bands), pretrained=True, ckpt_path=str(tmp_path / "source.pt"), **more)
    ours = _seeded(2, bands=list(bands), **more)
    assert not _equal(ours, theirs)
    matched = load_backbone(ours, weights_of(source, tmp_path / "weights"), bands)
    assert _equal(ours, theirs)
    assert len(matched.loaded) + len(matched.missing) == len(ours.state_dict())
    assert matched.missing == ("pos_embed",)
    assert matched.fresh == tuple(b for b in bands if b not in HLS)
    assert [name.partition("_")[0] for name in matched.unexpected] == (
        ["location", "temporal"] if "coords_encoding" in more else []
    )


def test_bands_by_sentinel_names(tmp_path: Path) -> None:
    source = _seeded(1)
    weights = weights_of(source, tmp_path / "weights")
    one, other = _seeded(2, bands=["SWIR_2", "RED"]), _seeded(2, bands=["SWIR_2", "RED"])
    load_backbone(one, weights, ("B12", "B04"))
    matched = load_backbone(other, weights, ("SWIR_2", "RED"))
    assert _equal(one, other)
    stem = source.state_dict()["patch_embed.proj.weight"]
    assert torch.equal(one.state_dict()["patch_embed.proj.weight"], stem[:, [5, 2]])
    assert "patch_embed.proj.weight by band" in str(matched)


def test_what_does_not_fit_is_refused_and_the_network_stays(tmp_path: Path) -> None:
    source = _seeded(1)
    block = "blocks.1.mlp.fc1.weight"
    cases = {
        "another size": (_seeded(1, embed_dim=64), {}, "has shape (1, 1, 64); the network expects (1, 1, 32)"),
        "deeper": (_seeded(1, depth=3), {}, "tensors that the network does not know, such as 'blocks.2"),
        "shallower": (_seeded(1, depth=1), {}, "tensors, such as 'blocks.1.attn"),
        "a tensor lost": (source, {block: None}, f"lacks 1 of the network's 32 tensors, such as '{block}'"),
        "a tensor more": (source, {"blocks.0.extra": np.zeros(1)}, "does not know, such as 'blocks.0.extra'"),
        "no date and place": (_seeded(1, coords_encoding=[]), {}, "lacks 2 of the network's 32 tensors"),
    }
    for name, (encoder, replaced, words) in cases.items():
        weights = weights_of(encoder, tmp_path / name, **replaced)
        target = _seeded(2)
        with pytest.raises(GeoductError, match=r"weights\.safetensors") as refusal:
            load_backbone(target, weights)
        assert words in str(refusal.value), name
        assert "\n" not in str(refusal.value)
        assert _equal(target, _seeded(2)), name


def test_weights_of_another_size_say_what_the_yaml_has_to_name(tmp_path: Path) -> None:
    weights = weights_of(_seeded(1), tmp_path / "weights")
    with pytest.raises(GeoductError, match="with these in model_args: backbone_embed_dim: 32, backbone_depth: 2,"):
        load_backbone(_seeded(2, depth=3), weights)


def test_bands_that_share_nothing_are_refused(tmp_path: Path) -> None:
    weights = weights_of(_seeded(1), tmp_path / "weights")
    with pytest.raises(GeoductError, match=r"knows the bands BLUE, .* and none of VV, VH"):
        load_backbone(_seeded(2, bands=["VV", "VH"]), weights, ("VV", "VH"))


def test_bands_that_are_not_the_networks_are_refused(tmp_path: Path) -> None:
    weights = weights_of(_seeded(1), tmp_path / "weights")
    with pytest.raises(GeoductError, match=r"'patch_embed\.proj\.weight' has shape \(32, 6, 1, 16, 16\)"):
        load_backbone(_seeded(2, bands=["RED", "BLUE"]), weights)


def test_wrapped_network_of_torchgeo() -> None:
    """A ResNet: its file has names without the wrapper's, and a head; TerraTorch itself does the same selection."""
    from terratorch.registry import BACKBONE_REGISTRY

    def resnet(bands: list[str]) -> Any:
        return BACKBONE_REGISTRY.build("ssl4eos12_resnet18_sentinel2_all_moco", model_bands=bands)

    source, target = resnet(["BLUE", "GREEN", "RED"]), resnet(["RED", "BLUE"])
    file = {name.removeprefix("resnet_model."): values for name, values in source.state_dict().items()}
    named = rename(target, {**file, "decoder.weight": torch.zeros(1)})
    assert named.keys() == source.state_dict().keys()
    matched = match(target, named, ("BLUE", "GREEN", "RED"), ("RED", "BLUE"), "file")
    assert torch.equal(target.state_dict()["resnet_model.conv1.weight"], file["conv1.weight"][:, [2, 0]])
    assert matched.reshaped == ("resnet_model.conv1.weight",)
    del named["resnet_model.fc.weight"], named["resnet_model.fc.bias"]
    assert match(target, named, ("BLUE", "GREEN", "RED"), ("RED", "BLUE"), "file").missing == (
        "resnet_model.fc.bias",
        "resnet_model.fc.weight",
    )


def test_terramind_by_band() -> None:
    from terratorch.registry import BACKBONE_REGISTRY

    def terramind(bands: list[str] | None = None) -> Any:
        chosen = {"bands": {"S2L2A": bands}} if bands else {}
        return BACKBONE_REGISTRY.build("terramind_v1_tiny", modalities=["S2L2A"], **chosen)

    whole = terramind()
    names = ["COASTAL_AEROSOL", "BLUE", "GREEN", "RED", "RED_EDGE_1", "RED_EDGE_2", "RED_EDGE_3"]
    names += ["NIR_BROAD", "NIR_NARROW", "WATER_VAPOR", "SWIR_1", "SWIR_2"]
    file = {**whole.state_dict(), "encoder_embeddings.untok_dem@224.proj.weight": torch.zeros(192, 256)}
    target = terramind(["RED", "BLUE"])
    matched = match(target, rename(target, file), names, ("RED", "BLUE"), "file")
    (stem,) = matched.reshaped
    given = file[stem].view(192, 256, 12)
    assert torch.equal(target.state_dict()[stem].view(192, 256, 2), given[..., [3, 1]])
