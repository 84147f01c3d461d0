"""A loop over windows, as one writes it with rasterio: the plain mean of what overlaps."""

import numpy as np
import rasterio
import torch
from rasterio.windows import Window

from tests.benchmarks.peers.measuring import Job, contest
from tests.benchmarks.peers.networks import Forward
from tests.benchmarks.peers.sums import Sums
from tests.benchmarks.peers.writing import write_maps


def work(job: Job, forward: Forward) -> None:
    """Write the maps of a raster."""
    with rasterio.open(job.image) as image:
        sums, corners = Sums(image.height, image.width), job.corners(image.height, image.width)
        for first in range(0, len(corners), job.batch):
            places = corners[first : first + job.batch]
            windows = (Window(x, y, job.window, job.window) for y, x in places)
            pixels = np.stack([image.read(window=window) for window in windows])
            said = forward(torch.from_numpy(pixels).float() / 255).cpu().numpy()
            for (y, x), probabilities in zip(places, said, strict=True):
                sums.add(y, x, probabilities)
        write_maps(job, image, sums.rows)


if __name__ == "__main__":
    contest(work, Forward)
