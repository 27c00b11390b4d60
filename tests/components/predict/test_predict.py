"""The component: from a Model and a Composite on disk to a Map that other programs open."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
from pystac.validation.stac_validator import JsonSchemaSTACValidator
from rio_cogeo import cog_validate

from components.artifacts import Map
from components.errors import GeoductError
from components.learning.predictor import Predictor
from components.predict import predict
from tests.components.predict.scenes import BANDS, composite, model, scene


def read(file: Path) -> np.ndarray[Any, Any]:
    with rasterio.open(file) as source:
        band: np.ndarray[Any, Any] = source.read(1)
        return band


def test_a_composite_of_one_patch_maps_to_the_models_logits(tmp_path: Path) -> None:
    network = model(tmp_path / "model")
    pixels = scene(32, 32)
    composite(tmp_path / "scene", pixels)
    predict(model=tmp_path / "model", composite=tmp_path / "scene", map=tmp_path / "map")
    logits = Predictor(network)(pixels[None])[0]
    np.testing.assert_array_equal(read(tmp_path / "map" / "classes.tif"), logits.argmax(axis=0))


def test_it_says_where_the_picture_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model(tmp_path / "model")
    composite(tmp_path / "scene", scene(32, 32))
    predict(model=tmp_path / "model", composite=tmp_path / "scene", map=tmp_path / "map")
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("predict: ")]
    said, picture = line.split("; look at ")
    assert said == f"predict: {tmp_path / 'map'} is a Map" and Path(picture).read_bytes().startswith(b"\x89PNG")


def test_bands_are_found_by_name(tmp_path: Path) -> None:
    model(tmp_path / "model")
    pixels = scene(50, 70)
    extra = np.concatenate([pixels[2:], np.zeros((1, 50, 70), np.uint16), pixels[:2]])
    composite(tmp_path / "a", pixels)
    composite(tmp_path / "b", extra, ("B08", "B01", "B02", "B03"))
    for name in "ab":
        predict(model=tmp_path / "model", composite=tmp_path / name, map=tmp_path / f"map-{name}")
    for file in ("classes.tif", "confidence.tif", "quicklook.png"):
        assert (tmp_path / "map-a" / file).read_bytes() == (tmp_path / "map-b" / file).read_bytes()


@pytest.mark.parametrize("task", ["segmentation", "classification"])
def test_a_constant_model_maps_constantly_and_nodata_stays(task: Any, tmp_path: Path) -> None:
    model(tmp_path / "model", task, constant=True)
    pixels = scene(75, 101)
    pixels[:, 10:60, 20:70] = 0
    composite(tmp_path / "scene", pixels)
    predict(model=tmp_path / "model", composite=tmp_path / "scene", map=tmp_path / "map", tile=40, overlap=0.3)
    hole = (pixels == 0).any(axis=0)
    likely = np.exp([0, 0.5, 1.0])
    percent = round(float(100 * likely[2] / likely.sum()))
    np.testing.assert_array_equal(read(tmp_path / "map" / "classes.tif"), np.where(hole, 255, 2))
    np.testing.assert_array_equal(read(tmp_path / "map" / "confidence.tif"), np.where(hole, 255, percent))


def test_the_map_opens_elsewhere(tmp_path: Path) -> None:
    network = model(tmp_path / "model")
    shown = composite(tmp_path / "scene", scene(600, 530))
    predict(model=tmp_path / "model", composite=tmp_path / "scene", map=tmp_path / "map", tile=256)
    result = Map.open(tmp_path / "map")
    for file in (result.classes, result.confidence):
        valid, errors, warnings = cog_validate(file, strict=True)
        assert valid and not errors and not warnings
    with rasterio.open(result.classes) as source:
        assert source.overviews(1) == [2]
        assert source.block_shapes == [(512, 512)]
        assert source.crs.to_epsg() == 32627 and source.transform == shown.geobox.transform
        colours = source.colormap(1)
        assert [colours[i][:3] for i in range(3)] == [c.rgb for c in network.nomenclature]
        assert colours[255] == (0, 0, 0, 0)
    assert result.geobox == shown.geobox and result.nomenclature == network.nomenclature
    sidecar = (tmp_path / "map" / "classes.tif.aux.xml").read_text()
    assert re.findall(r"<Category>(.*)</Category>", sidecar) == network.nomenclature.names
    assert result.quicklook.read_bytes()[:4] == b"\x89PNG"


@pytest.mark.skipif(shutil.which("gdalinfo") is None, reason="gdalinfo is not installed (tests/services/system.sh)")
def test_gdal_itself_shows_classes_and_colours(tmp_path: Path) -> None:
    network = model(tmp_path / "model")
    composite(tmp_path / "scene", scene(40, 40))
    predict(model=tmp_path / "model", composite=tmp_path / "scene", map=tmp_path / "map")
    command = ["gdalinfo", "-json", str(tmp_path / "map" / "classes.tif")]
    told = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    (band,) = told["bands"]
    assert band["noDataValue"] == 255
    assert [tuple(entry[:3]) for entry in band["colorTable"]["entries"][:3]] == [c.rgb for c in network.nomenclature]
    assert told["metadata"]["IMAGE_STRUCTURE"]["LAYOUT"] == "COG"


def test_the_item_is_valid_stac_and_says_what_it_was_made_of(tmp_path: Path) -> None:
    network = model(tmp_path / "model")
    shown = composite(tmp_path / "scene", scene(40, 40), dates=("2023-05-20T12:56:01Z", "2023-08-01T13:00:00Z"))
    predict(model=tmp_path / "model", composite=tmp_path / "scene", map=tmp_path / "map")
    stored = json.loads((tmp_path / "map" / "item.json").read_text())
    validator = JsonSchemaSTACValidator()
    validator.validate_core(stored, pystac.STACObjectType.ITEM, "1.1.0")

    item = pystac.Item.from_file(tmp_path / "map" / "item.json")
    assert item.properties["geoduct:model"] == network.digest
    assert item.properties["geoduct:composite"] == shown.digest
    assert item.properties["start_datetime"] == "2023-05-20T12:56:01Z"
    assert item.properties["end_datetime"] == "2023-08-01T13:00:00Z"
    assert item.ext.proj.code == "EPSG:32627" and item.ext.proj.shape == [40, 40]
    west, south, east, north = item.bbox or []
    assert west == pytest.approx(-21.0, abs=1e-3) and north == pytest.approx(64.0268, abs=1e-3)
    assert (north - south) * 111_000 == pytest.approx(400, rel=0.02) and east > west
    classes = item.assets["classes"].ext.classification.classes or []
    assert [c.value for c in classes] == [0, 1, 2, 255]
    assert [c.color_hint for c in classes[:3]] == [c.colour[1:].upper() for c in network.nomenclature]
    # As the extension's schema asks.
    assert all(re.fullmatch(r"[0-9A-Za-z_-]+", c.name or "") for c in classes)
    assert len({c.name for c in classes}) == len(classes)
    for asset in item.assets.values():
        assert Path(asset.get_absolute_href() or "").is_file()


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    model(tmp_path / "model")
    composite(tmp_path / "scene", scene(90, 600))
    for name in "ab":
        predict(model=tmp_path / "model", composite=tmp_path / "scene", map=tmp_path / name)
    assert Map.open(tmp_path / "a").digest == Map.open(tmp_path / "b").digest
    expected = {"classes.tif", "classes.tif.aux.xml", "confidence.tif", "item.json", "quicklook.png", "geoduct.json"}
    assert {f.name for f in (tmp_path / "a").iterdir()} == expected


def refused(tmp_path: Path, **parameters: Any) -> str:
    with pytest.raises(GeoductError) as caught:
        predict(model=tmp_path / "model", composite=tmp_path / "scene", map=tmp_path / "map", **parameters)
    assert {f.name for f in tmp_path.iterdir()} <= {"model", "scene"}  # nothing half-written
    return str(caught.value)


def test_missing_bands_are_named(tmp_path: Path) -> None:
    model(tmp_path / "model")
    composite(tmp_path / "scene", scene(40, 40, 2), ("B02", "B04"))
    sentence = refused(tmp_path)
    assert "B03, B08" in sentence and str(tmp_path / "scene") in sentence and "B02, B04" in sentence


def test_a_composite_without_a_valid_pixel_is_refused(tmp_path: Path) -> None:
    model(tmp_path / "model")
    pixels = scene(40, 40)
    pixels[1] = 0
    composite(tmp_path / "scene", pixels)
    sentence = refused(tmp_path)
    assert "no pixel that is valid" in sentence and ", ".join(BANDS) in sentence


def test_a_tile_smaller_than_the_patch_is_refused(tmp_path: Path) -> None:
    model(tmp_path / "model")
    composite(tmp_path / "scene", scene(40, 40))
    assert "--tile is 20; expected at least 32" in refused(tmp_path, tile=20)


def test_a_model_of_sets_of_classes_is_refused(tmp_path: Path) -> None:
    model(tmp_path / "model", "multilabel")
    composite(tmp_path / "scene", scene(40, 40))
    sentence = refused(tmp_path)
    assert "the set of classes of a patch, but a Map holds one class a pixel; expected a model of" in sentence
    assert str(tmp_path / "model") in sentence and "geoduct export" in sentence


def test_dates_that_are_none_are_refused(tmp_path: Path) -> None:
    model(tmp_path / "model")
    composite(tmp_path / "scene", scene(40, 40), dates=("spring", "summer"))
    assert "expected ISO 8601" in refused(tmp_path)


def test_a_corrupt_chunk_names_the_store(tmp_path: Path) -> None:
    model(tmp_path / "model")
    composite(tmp_path / "scene", scene(40, 40))
    (shard,) = [f for f in (tmp_path / "scene" / "reflectance" / "c").rglob("*") if f.is_file()]
    damaged = bytearray(shard.read_bytes())
    damaged[100] ^= 0xFF
    shard.write_bytes(bytes(damaged))
    sentence = refused(tmp_path)
    assert str(tmp_path / "scene") in sentence and "corrupt" in sentence
