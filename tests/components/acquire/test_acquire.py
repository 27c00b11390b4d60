"""acquire from end to end, on catalogs whose every pixel is known and on the real samples."""

from __future__ import annotations

import json
import re
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.warp import transform, transform_bounds

from components.acquire import acquire
from components.artifacts.scenecube import SceneCube
from components.errors import GeoductError
from tests.components.acquire.catalogs import EAST, NORTH, Shot, dn, write_catalog, write_raster

SCL = np.full((40, 60), 4, "uint8")


def shot(id: str = "a", day: str = "2021-06-01T12:00:00", seed: int = 0, **more: object) -> Shot:
    """Two 10 m bands, one 20 m band and a 20 m scene classification over 120 x 80 pixels."""
    pixels = {"blue": dn((80, 120), seed), "red": dn((80, 120), seed + 1), "swir16": dn((40, 60), seed + 2)}
    return Shot(id, day, {**pixels, "scl": SCL.copy()}, **more)


def run(folder: Path, catalog: Path | str, **parameters: object) -> SceneCube:
    acquire(catalog=str(catalog), scenes=str(folder / "scenes.zarr"), **parameters)
    return SceneCube.open(folder / "scenes.zarr")


def pixels(cube: SceneCube) -> np.ndarray:
    return np.asarray(cube.array("reflectance")[...])


def test_pixels_are_the_files_own_and_coarse_ones_are_repeated(tmp_path: Path) -> None:
    made = shot()
    made.pixels["scl"] = np.random.default_rng(5).integers(0, 12, (40, 60)).astype("uint8")
    cube = run(tmp_path, write_catalog(tmp_path / "c", [made]), bands=["B04", "blue", "B11"])
    assert cube.bands == ["B04", "B02", "B11"]
    assert cube.mask == "scl"
    assert (pixels(cube)[0, 0] == made.pixels["red"]).all()
    assert (pixels(cube)[0, 1] == made.pixels["blue"]).all()
    assert (pixels(cube)[0, 2] == np.kron(made.pixels["swir16"], np.ones((2, 2), "uint16"))).all()
    assert (np.asarray(cube.array("scl")[0]) == np.kron(made.pixels["scl"], np.ones((2, 2), "uint8"))).all()
    assert cube.geobox == GeoBox((80, 120), rasterio.Affine(10, 0, EAST, 0, -10, NORTH), "EPSG:32627")


def test_only_the_window_is_read_and_it_lies_on_the_items_pixels(tmp_path: Path) -> None:
    made = shot()
    inside = transform_bounds("EPSG:32627", "EPSG:4326", EAST + 233, NORTH - 577, EAST + 614, NORTH - 205)
    cube = run(tmp_path, write_catalog(tmp_path / "c", [made]), bands=["blue", "swir16"], bbox=inside)
    left, top = round((cube.geobox.transform.c - EAST) / 10), round((NORTH - cube.geobox.transform.f) / 10)
    height, width = cube.geobox.shape
    assert (left, top) == (23, 20)
    assert (height, width) == (38, 39)  # every pixel that the box touches
    window = np.s_[top : top + height, left : left + width]
    assert (pixels(cube)[0, 0] == made.pixels["blue"][window]).all()
    assert (pixels(cube)[0, 1] == np.kron(made.pixels["swir16"], np.ones((2, 2), "uint16"))[window]).all()


def test_an_area_in_geojson_gives_its_bounding_window(tmp_path: Path) -> None:
    corners = [(EAST + 200, NORTH - 100), (EAST + 600, NORTH - 100), (EAST + 200, NORTH - 500)]
    longitude, latitude = transform("EPSG:32627", "EPSG:4326", *zip(*corners, strict=True))
    ring = [list(point) for point in zip(longitude, latitude, strict=True)]
    (tmp_path / "aoi.geojson").write_text(json.dumps({"type": "Polygon", "coordinates": [[*ring, ring[0]]]}))
    made = shot()
    catalog = write_catalog(tmp_path / "c", [made])
    cube = run(tmp_path, catalog, bands=["blue"], aoi=str(tmp_path / "aoi.geojson"))
    assert (pixels(cube)[0, 0] == made.pixels["blue"][10:50, 20:60]).all()


def test_mixed_baselines_agree(tmp_path: Path) -> None:
    truth = dn((80, 120), 3, low=0)
    old, new, done = (shot(n, f"2021-06-0{i}") for i, n in enumerate(("old", "new", "done"), 1))
    shifted = np.where(truth == 0, 0, truth + 1000).astype("uint16")
    old.pixels["blue"], new.pixels["blue"], done.pixels["blue"] = truth, shifted, truth
    old.properties, new.properties = {"s2:processing_baseline": "03.01"}, {"s2:processing_baseline": "05.09"}
    done.properties = {"s2:processing_baseline": "05.09", "earthsearch:boa_offset_applied": True}
    old.declared, new.declared, done.declared = 0.0, -0.1, -0.1
    cube = run(tmp_path, write_catalog(tmp_path / "c", [old, new, done]), bands=["blue"])
    assert [item["offset"] for item in cube.items] == [0, -1000, 0]
    assert [item["processing_baseline"] for item in cube.items] == ["03.01", "05.09", "05.09"]
    for step in pixels(cube):
        assert (step[0] == truth).all()


def test_dark_pixels_do_not_become_nodata(tmp_path: Path) -> None:
    made = shot(properties={"s2:processing_baseline": "05.09"}, declared=-0.1)
    made.pixels["blue"][:2, 0] = [0, 7]
    made.pixels["blue"][2:6, 0] = [999, 1000, 1001, 1002]
    made.pixels["blue"][6, 0] = 65535
    cube = run(tmp_path, write_catalog(tmp_path / "c", [made]), bands=["blue"])
    assert pixels(cube)[0, 0, :7, 0].tolist() == [0, 1, 1, 1, 1, 2, 64535]


def test_blocks_and_workers_leave_no_trace(tmp_path: Path) -> None:
    # taller than one shard, so that two blocks meet in the middle of a band
    tall = {"blue": dn((2100, 70), 1), "swir16": dn((1050, 35), 2), "scl": np.full((1050, 35), 5, "uint8")}
    catalog = write_catalog(tmp_path / "c", [Shot("tall", "2021-06-01", tall)])
    digests = set()
    for workers in (1, 3):
        cube = run(tmp_path / str(workers), catalog, bands=["blue", "swir16"], workers=workers)
        digests.add(cube.digest)
        assert (pixels(cube)[0, 0] == tall["blue"]).all()
        assert (pixels(cube)[0, 1] == np.kron(tall["swir16"], np.ones((2, 2), "uint16"))).all()
        assert (np.asarray(cube.array("scl")[0]) == 5).all()
    assert len(digests) == 1


def test_items_of_two_tiles_share_one_grid_and_the_rest_is_nodata(tmp_path: Path) -> None:
    west, east = shot("west", "2021-06-01"), shot("east", "2021-06-02", seed=9, east=EAST + 1200)
    cube = run(tmp_path, write_catalog(tmp_path / "c", [west, east]), bands=["blue"])
    assert cube.geobox.shape == (80, 240)
    assert (pixels(cube)[0, 0, :, :120] == west.pixels["blue"]).all()
    assert (pixels(cube)[1, 0, :, 120:] == east.pixels["blue"]).all()
    assert not pixels(cube)[0, 0, :, 120:].any()
    assert not pixels(cube)[1, 0, :, :120].any()


def test_an_item_of_another_zone_comes_onto_the_grid_of_most(tmp_path: Path) -> None:
    x, y = transform("EPSG:32627", "EPSG:32628", [EAST], [NORTH])
    other = shot("other", "2021-06-03", epsg=32628, east=round(x[0]), north=round(y[0]))
    for name in ("blue", "red", "swir16"):
        other.pixels[name][:] = 1234
    cube = run(tmp_path, write_catalog(tmp_path / "c", [shot("a"), shot("b"), other]), bands=["blue", "swir16"])
    assert cube.geobox.crs.epsg == 32627
    last = pixels(cube)[-1, 0]
    assert set(np.unique(last)) == {0, 1234}
    assert (last == 1234).sum() == pytest.approx(80 * 120, rel=0.02)


def test_another_resolution_keeps_the_corner(tmp_path: Path) -> None:
    made = shot()
    made.pixels["blue"][:] = 700
    cube = run(tmp_path, write_catalog(tmp_path / "c", [made]), bands=["blue"], resolution=40.0, resampling="bilinear")
    assert cube.geobox == GeoBox((20, 30), rasterio.Affine(40, 0, EAST, 0, -40, NORTH), "EPSG:32627")
    assert (pixels(cube) == 700).all()


def test_bilinear_is_between_neighbours_and_masks_stay_nearest(tmp_path: Path) -> None:
    made = shot()
    made.pixels["swir16"][:, :30], made.pixels["swir16"][:, 30:] = 1000, 2000
    made.pixels["scl"][:, :30], made.pixels["scl"][:, 30:] = 4, 9
    cube = run(tmp_path, write_catalog(tmp_path / "c", [made]), bands=["blue", "swir16"], resampling="bilinear")
    assert (pixels(cube)[0, 0] == made.pixels["blue"]).all()
    assert pixels(cube)[0, 1, 40, 58:62].tolist() == [1000, 1250, 1750, 2000]
    assert set(np.unique(np.asarray(cube.array("scl")[0]))) == {4, 9}


def test_a_cube_without_mask(tmp_path: Path) -> None:
    made = shot()
    del made.pixels["scl"]
    catalog = write_catalog(tmp_path / "c", [made])
    with pytest.raises(GeoductError, match=r"item a has no mask asset .scl or clm. among blue, red, swir16; --mask"):
        run(tmp_path, catalog, bands=["blue"])
    cube = run(tmp_path, catalog, bands=["blue"], mask="none")
    assert cube.mask == "none"
    assert not np.asarray(cube.array("scl")[...]).any()


class _Ranges(SimpleHTTPRequestHandler):
    """Serves files, or the part of one that a Range header asks for, as object stores do."""

    def do_GET(self) -> None:
        asked = re.match(r"bytes=(\d+)-(\d+)$", self.headers.get("Range", ""))
        if not asked:
            super().do_GET()
            return
        data = Path(self.translate_path(self.path)).read_bytes()
        first, last = int(asked[1]), min(int(asked[2]), len(data) - 1)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        self.send_header("Content-Length", str(last + 1 - first))
        self.end_headers()
        self.wfile.write(data[first : last + 1])

    def log_message(self, *_: object) -> None:
        pass


def test_a_static_catalog_over_http_gives_the_same_bytes(tmp_path: Path) -> None:
    catalog = write_catalog(tmp_path / "c", [shot()])
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Ranges, directory=str(catalog)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        far = run(tmp_path / "far", f"http://127.0.0.1:{server.server_port}/catalog.json", bands=["blue", "swir16"])
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert far.digest == run(tmp_path / "near", catalog, bands=["blue", "swir16"]).digest


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _spoil(path: Path) -> None:
    path.write_text("<html>not found</html>")


def _as_reflectance(path: Path) -> None:
    write_raster(path, np.full((80, 120), 0.1, "float32"), shot(), 10)


@pytest.mark.parametrize("band", ["blue", "swir16"])
@pytest.mark.parametrize("resampling", ["nearest", "cubic"])
def test_a_truncated_asset_is_an_error_and_never_nodata(tmp_path: Path, band: str, resampling: str) -> None:
    catalog = write_catalog(tmp_path / "c", [shot()])
    _truncate(catalog / f"a_{band}.tif")
    with pytest.raises(GeoductError, match=rf"item a: asset '{band}' .*a_{band}.tif\) is truncated or damaged"):
        run(tmp_path, catalog, bands=["blue", "swir16"], resampling=resampling)
    assert not list(tmp_path.glob("*scenes*"))


@pytest.mark.parametrize(
    ("harm", "expected"),
    [
        (Path.unlink, r"item a: asset 'blue' .*a_blue.tif\) does not exist"),
        (_spoil, r"item a: asset 'blue' .*a_blue.tif\) is no raster"),
        (_as_reflectance, r"item a: asset 'blue' .* holds float32; expected one band of digital numbers, uint16"),
    ],
)
def test_an_asset_that_is_no_image_is_named(tmp_path: Path, harm: object, expected: str) -> None:
    catalog = write_catalog(tmp_path / "c", [shot()])
    harm(catalog / "a_blue.tif")
    with pytest.raises(GeoductError, match=expected):
        run(tmp_path, catalog, bands=["blue"])


def test_bad_requests_are_refused_in_one_sentence(tmp_path: Path) -> None:
    empty = shot("empty")
    empty.pixels["blue"][:] = 0
    catalog = write_catalog(tmp_path / "c", [empty])
    for parameters, expected in [
        ({"bands": ["B99"]}, r"--bands: 'B99' is no band of Sentinel-2; did you mean 'B09'"),
        ({"bands": ["blue", "B02"]}, r"--bands names B02 twice"),
        ({"bands": ["B08"]}, r"item empty has no band B08; it has B02, B04, B11"),
        ({"bands": ["blue"]}, r"none of the 1 items found has a valid pixel"),
        ({"bands": ["red"], "crs": "EPSG:nonsense"}, r"--crs is 'EPSG:nonsense'; expected"),
        ({"bands": ["red"], "crs": "EPSG:32628", "resolution": None}, r"no item is in EPSG:32628"),
        ({"bands": ["red"], "mask": "clm"}, r"item empty has no mask asset \(clm\)"),
    ]:
        with pytest.raises(GeoductError, match=expected):
            run(tmp_path, catalog, **parameters)


def test_what_is_kept_of_an_item(tmp_path: Path) -> None:
    properties = {"eo:cloud_cover": 12.5, "platform": "sentinel-2b", "grid:code": "MGRS-27WVM", "unheard:of": 1}
    cube = run(tmp_path, write_catalog(tmp_path / "c", [shot(properties=properties)]), bands=["blue"])
    assert cube.items == [
        {
            "id": "a",
            "datetime": "2021-06-01T12:00:00Z",
            "cloud_cover": 12.5,
            "processing_baseline": None,
            "offset": 0,
            "collection": "made-up-l2a",
            "grid:code": "MGRS-27WVM",
            "platform": "sentinel-2b",
        }
    ]


def test_grid_comes_from_the_file_where_the_metadata_state_none(tmp_path: Path) -> None:
    made = shot()
    catalog = write_catalog(tmp_path / "c", [made])
    (file,) = catalog.rglob("a.json")
    item = json.loads(file.read_text())
    for asset in item["assets"].values():
        del asset["proj:shape"], asset["proj:transform"]
    file.write_text(json.dumps(item))
    cube = run(tmp_path, catalog, bands=["blue"])
    assert (pixels(cube)[0, 0] == made.pixels["blue"]).all()


def test_bolzano_is_read_to_the_pixel(tmp_path: Path, shared_data: Path) -> None:
    bands = ["B02", "B03", "B04", "B08"]
    cube = run(tmp_path, shared_data / "scenes", collection="bolzano-l2a", bands=bands)
    folder = shared_data / "scenes" / "bolzano-l2a" / "S2_L2A_BOLZANO_20220612"
    for band, found in zip(bands, pixels(cube)[0], strict=True):
        with rasterio.open(folder / f"{band}.tif") as file:
            assert (file.read(1) == found).all()
            assert tuple(cube.geobox.transform) == tuple(file.transform)
    with rasterio.open(folder / "SCL.tif") as file:
        assert (file.read(1) == np.asarray(cube.array("scl")[0])).all()


def test_slovenia_keeps_its_odd_grid_and_its_cloud_mask(tmp_path: Path, shared_data: Path) -> None:
    cube = run(tmp_path, shared_data / "scenes", collection="slovenia-l1c", bands=["B02", "B10"], resolution=None)
    assert cube.mask == "clm"
    assert len(cube.items) == 5
    for step, item in enumerate(cube.items):
        folder = shared_data / "scenes" / "slovenia-l1c" / item["id"]
        for name, found in (
            ("B02", pixels(cube)[step, 0]),
            ("B10", pixels(cube)[step, 1]),
            ("CLM", np.asarray(cube.array("scl")[step])),
        ):
            with rasterio.open(folder / f"{name}.tif") as file:
                assert (file.read(1) == found).all()
                assert tuple(cube.geobox.transform) == pytest.approx(tuple(file.transform))
