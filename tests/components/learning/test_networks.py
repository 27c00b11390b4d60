"""Networks are built again from their architecture, take any size, and refuse weights that are not theirs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from components.artifacts.model import Architecture
from components.errors import GeoductError
from components.learning.networks import build, design, load_weights, weights_of

SMALL = "tu-test_resnet"
DECODER = (8, 8, 8, 8, 8)


@pytest.mark.parametrize("shape", [(32, 64), (16, 16), (120, 33), (5, 40)])
def test_a_unet_gives_a_logit_a_class_and_pixel_at_any_size(shape: tuple[int, int]) -> None:
    network = build(design("segmentation", SMALL, bands=3, classes=4, decoder=DECODER)).eval()
    with torch.no_grad():
        assert network(torch.zeros(2, 3, *shape)).shape == (2, 4, *shape)


def test_padding_leaves_the_pixels_in_their_place() -> None:
    network = build(design("segmentation", SMALL, bands=1, classes=1, decoder=DECODER)).eval()
    shift = torch.nn.Identity()
    network.network = shift
    image = torch.arange(20.0 * 50).reshape(1, 1, 20, 50)
    assert torch.equal(network(image), image)


@pytest.mark.parametrize("size", [16, 40])
def test_a_cnn_gives_a_logit_a_class(size: int) -> None:
    network = build(design("classification", "test_resnet", bands=3, classes=5)).eval()
    with torch.no_grad():
        assert network(torch.zeros(2, 3, size, size)).shape == (2, 5)


def test_weights_carry_over_exactly() -> None:
    architecture = design("segmentation", SMALL, bands=3, classes=2, decoder=DECODER)
    one, two = build(architecture).eval(), build(architecture).eval()
    load_weights(two, weights_of(one), "model.safetensors")
    image = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(one(image), two(image))


def test_weights_of_another_network_are_refused() -> None:
    network = build(Architecture("timm", {"encoder": "test_resnet", "bands": 3, "classes": 2}))
    good = weights_of(network)
    name = next(iter(good))
    with pytest.raises(GeoductError, match=rf"w: tensor '{name}' has shape \(1,\); its architecture expects"):
        load_weights(network, {**good, name: np.zeros(1, np.float32)}, "w")
    with pytest.raises(GeoductError, match=f"w lacks the tensor '{name}'"):
        load_weights(network, {k: v for k, v in good.items() if k != name}, "w")
    with pytest.raises(GeoductError, match="w has a tensor 'extra'"):
        load_weights(network, {**good, "extra": np.zeros(1, np.float32)}, "w")


def test_encoders_are_found_by_either_librarys_name() -> None:
    assert design("segmentation", "resnet18", bands=1, classes=1).arguments["encoder"] == "resnet18"
    assert design("segmentation", "mobilenetv3_small_100", bands=1, classes=1).arguments["encoder"].startswith("tu-")
    with pytest.raises(GeoductError, match="did you mean 'resnet18'"):
        design("segmentation", "resnet_18", bands=1, classes=1)
    with pytest.raises(GeoductError, match="did you mean 'resnet18'"):
        design("classification", "resnt18", bands=1, classes=1)


def test_an_unknown_family_is_refused() -> None:
    with pytest.raises(GeoductError, match="architecture is 'u-net'; did you mean 'unet'"):
        build(Architecture("u-net", {}))
