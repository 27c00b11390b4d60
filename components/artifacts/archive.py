"""Archive: a sample archive that Geoduct simulated, with the truth that no real archive has.

On disk it is a static STAC catalog (`catalog.json`, `sentinel-2-l2a/`), a CORINE-coded raster (`corine.tif`) and a
folder `truth/`. Components read only the catalog and the labels, as they would read anybody else's; the truth is for
tests and benchmarks.
"""

from __future__ import annotations

import json
from pathlib import Path

from components.artifacts.base import Artifact
from components.errors import GeoductError


class Archive(Artifact):
    """A folder with a static STAC catalog of COGs, labels, and the truth kept apart."""

    kind = "Archive"

    @property
    def catalog(self) -> Path:
        """The STAC catalog, what `acquire --catalog` reads."""
        return self.path / "catalog.json"

    @property
    def labels(self) -> Path:
        """CORINE grid codes, uint8 `(y, x)` at 100 m in EPSG:3035, 48 = nodata."""
        return self.path / "corine.tif"

    @property
    def truth(self) -> Path:
        """The folder of what is true."""
        return self.path / "truth"

    @property
    def classes(self) -> Path:
        """CORINE grid code of the surface, uint8 `(y, x)` at 10 m on the items' grid; rivers (40) included."""
        return self.truth / "classes.tif"

    def truth_of(self, item: str) -> Path:
        """Cloud-free, noise-free reflectance x 10000 of an item, uint16 `(band, y, x)` on its 10 m grid.

        Bands are named in the file. Those of 20 and 60 m hold the mean over their own pixel, repeated: what a band
        resampled nearest should hold. The file is absent from an archive simulated without truth.
        """
        return self.truth / f"{item}.tif"

    def clear_of(self, item: str) -> Path:
        """Where nothing stands between ground and sensor, uint8 `(y, x)` at 10 m: 1 clear, 0 not, or nodata.

        A pixel of 20 or 60 m sees all the ground it covers: it is clear where every pixel of 10 m in it is.
        """
        return self.truth / f"clear_{item}.tif"

    @property
    def items(self) -> list[str]:
        """Ids of the STAC items in order of time."""
        folder = self.path / "sentinel-2-l2a"
        found = [json.loads((d / f"{d.name}.json").read_text()) for d in folder.iterdir() if d.is_dir()]
        return [str(i["id"]) for i in sorted(found, key=lambda i: str(i["properties"]["datetime"]))]

    def validate(self) -> None:
        """Check that catalog, collection, labels and truth are there and that every asset of every item exists."""
        for file in (self.catalog, self.path / "sentinel-2-l2a" / "collection.json", self.labels, self.classes):
            if not file.is_file():
                raise GeoductError(f"{self.path} lacks {file.relative_to(self.path)}; an {self.kind} holds it")
        for item in self.items:
            home = self.path / "sentinel-2-l2a" / item
            for asset in json.loads((home / f"{item}.json").read_text())["assets"].values():
                if not (home / asset["href"]).is_file():
                    raise GeoductError(f"{home / item}.json names {asset['href']}, which is not there")
            if not self.clear_of(item).is_file():
                raise GeoductError(f"{self.path} lacks truth/{self.clear_of(item).name}; an {self.kind} holds it")
