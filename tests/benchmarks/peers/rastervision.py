"""Raster Vision: its sliding windows and its smooth labels, a plain mean in half precision.

Our windows, which do not hang over the edge, are put in the place of its own. Scores are taken from
its labels in rows of blocks: its own writer would take them twice, for classes and for scores.
"""

from collections.abc import Iterator

import numpy as np
import rasterio
from rastervision.core.box import Box
from rastervision.core.data import ClassConfig, SemanticSegmentationLabels
from rastervision.pytorch_learner import SemanticSegmentationSlidingWindowGeoDataset
from torch.utils.data import DataLoader

from tests.benchmarks.peers.measuring import CLASSES, Job, contest
from tests.benchmarks.peers.networks import Forward
from tests.benchmarks.peers.writing import write_maps


def work(job: Job, forward: Forward) -> None:
    """Write the maps of a raster."""
    names = [f"class {number}" for number in range(CLASSES)]
    # it divides what is of 8 bits by 255
    windows = SemanticSegmentationSlidingWindowGeoDataset.from_uris(
        image_uri=job.image,
        class_config=ClassConfig(names=[*names, "null"], null_class="null"),
        size=job.window,
        stride=job.window - job.overlap,
        normalize=True,
    )
    extent = windows.scene.extent
    corners = job.corners(extent.height, extent.width)
    windows.windows = [Box(y, x, y + job.window, x + job.window) for y, x in corners]

    def said() -> Iterator[np.ndarray]:
        for pixels, _ in DataLoader(windows, batch_size=job.batch):
            yield from forward(pixels).cpu().numpy()

    labels = SemanticSegmentationLabels.from_predictions(
        windows.windows, said(), extent=extent, num_classes=CLASSES, smooth=True
    )
    with rasterio.open(job.image) as image:
        write_maps(
            job,
            image,
            lambda first, last: labels.get_score_arr(Box(first, 0, last, extent.width)),
        )


if __name__ == "__main__":
    contest(work, Forward)
