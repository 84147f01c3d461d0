"""How every peer's sums become maps: none of them writes the output that is asked for.

The kindest way we know: the sums are divided, compared and written in rows of blocks, so that no
second array of the raster's size is made, and no block is packed twice. GDAL's driver of
cloud-optimised GeoTIFFs, which only copies, takes the rest, as it does for us.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import rasterio
import rasterio.shutil
from rasterio.io import DatasetReader
from rasterio.windows import Window

from tests.benchmarks.peers.measuring import Job

BLOCK = 512
MAPS = {"classes": "mode", "confidence": "average"}
"""How the overviews of each map are made."""


def write_maps(job: Job, image: DatasetReader, rows_of: Callable[[int, int], np.ndarray]) -> None:
    """Write ``classes.tif`` and ``confidence.tif``, uint8, the latter per cent.

    ``rows_of`` takes the first row and the one behind the last, and gives probabilities
    [classes, rows, W].
    """
    keys = ("height", "width", "crs", "transform")
    profile = {key: image.profile[key] for key in keys} | {"count": 1, "dtype": "uint8"}
    profile |= {"tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK, "nodata": 255}
    drafts = {name: job.file(f"{name}.draft") for name in MAPS}
    with (
        rasterio.open(drafts["classes"], "w", driver="GTiff", **profile) as classes,
        rasterio.open(drafts["confidence"], "w", driver="GTiff", **profile) as confidence,
    ):
        for top in range(0, image.height, BLOCK):
            rows = rows_of(top, min(top + BLOCK, image.height))
            window = Window(0, top, image.width, rows.shape[1])
            classes.write(rows.argmax(0).astype(np.uint8), 1, window=window)
            sure = np.rint(rows.max(0).astype(np.float32) * 100)
            confidence.write(sure.astype(np.uint8), 1, window=window)
    for name, resampling in MAPS.items():
        _finish(drafts[name], job.file(name), resampling)


def _finish(draft: Path, path: Path, resampling: str) -> None:
    options = {"compress": "DEFLATE", "level": 1, "blocksize": BLOCK}
    options["overview_resampling"] = resampling
    rasterio.shutil.copy(draft, path, driver="COG", **options)
    draft.unlink()
