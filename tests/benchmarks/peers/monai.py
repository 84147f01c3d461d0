"""MONAI: ``sliding_window_inference`` with Gaussian weights, over the whole raster in memory."""

import rasterio
import torch
from monai.inferers import sliding_window_inference

from tests.benchmarks.peers.measuring import Job, contest
from tests.benchmarks.peers.networks import Forward
from tests.benchmarks.peers.writing import write_maps


def work(job: Job, forward: Forward) -> None:
    """Write the maps of a raster."""
    with rasterio.open(job.image) as image:
        pixels = torch.from_numpy(image.read()).float().div_(255)[None]
        blended = sliding_window_inference(
            pixels,
            (job.window, job.window),
            job.batch,
            forward,
            overlap=job.overlap / job.window,
            mode="gaussian",
            sw_device=forward.device,
            device=torch.device("cpu"),
        )
        # it is not needed any more, and would count beside the maps
        del pixels
        probabilities = blended[0].numpy()
        write_maps(job, image, lambda first, last: probabilities[:, first:last])


if __name__ == "__main__":
    contest(work, Forward)
