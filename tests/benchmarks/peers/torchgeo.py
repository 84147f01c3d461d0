"""torchgeo: its dataset, its collation, a sampler of our windows, and a mean stitched by hand.

``GridGeoSampler`` gives as many windows, but lets the last ones hang over the edge and counts rows
from below; with a sampler of our own its maps can be compared pixel by pixel. Its windows are
coordinates: where the size of a pixel is no power of 2, some are read one pixel beside their place.
"""

from collections.abc import Iterator

import rasterio
from torch.utils.data import DataLoader
from torchgeo.datasets import RasterDataset, stack_samples
from torchgeo.samplers import GeoSampler

from tests.benchmarks.peers.measuring import Job, contest
from tests.benchmarks.peers.networks import Forward
from tests.benchmarks.peers.sums import Sums
from tests.benchmarks.peers.writing import write_maps


class Windows(GeoSampler):
    """Windows of pixels, as the slices of coordinates that torchgeo takes."""

    def __init__(
        self, dataset: RasterDataset, transform: rasterio.Affine, job: Job, corners: list
    ) -> None:
        super().__init__(dataset)
        self.transform, self.window, self.corners = transform, job.window, corners

    def __len__(self) -> int:
        return len(self.corners)

    def __iter__(self) -> Iterator[tuple[slice, slice, slice]]:
        for y, x in self.corners:
            west, north = self.transform @ (x, y)
            east, south = self.transform @ (x + self.window, y + self.window)
            time = slice(self.toi.left, self.toi.right)
            yield slice(west, east), slice(south, north), time


def work(job: Job, forward: Forward) -> None:
    """Write the maps of a raster."""
    with rasterio.open(job.image) as image:
        sums, corners = Sums(image.height, image.width), job.corners(image.height, image.width)
        dataset = RasterDataset(paths=[job.image])
        windows = Windows(dataset, image.transform, job, corners)
        places = iter(corners)
        loader = DataLoader(
            dataset, batch_size=job.batch, sampler=windows, collate_fn=stack_samples
        )
        for batch in loader:
            for probabilities in forward(batch["image"] / 255).cpu().numpy():
                sums.add(*next(places), probabilities)
        write_maps(job, image, sums.rows)


if __name__ == "__main__":
    contest(work, Forward)
