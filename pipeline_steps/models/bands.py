"""Images of more bands than three, for networks that were taught red, green and blue."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

RGB = (0, 1, 2)


class Bands(nn.Module):
    """Bands as a network wants them: red, green and blue, then the others, all normalised.

    ``mean`` and ``std`` are those of red, green and blue; the others get the means of these.
    ``rgb`` are the places of the three among the ``count`` bands of an image.
    """

    def __init__(
        self, mean: Sequence[float], std: Sequence[float], count: int = 3, rgb: Sequence[int] = RGB
    ) -> None:
        super().__init__()
        self.others = [band for band in range(count) if band not in rgb]
        self.order = [*rgb, *self.others]
        self.is_in_order = self.order == list(range(count))
        for key, three in (("mean", mean), ("std", std)):
            values = torch.tensor([*three, *[sum(three) / 3] * len(self.others)])
            self.register_buffer(key, values.view(1, -1, 1, 1), persistent=False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return [B, 3 + others, H, W], normalised, of ``image`` [B, count, H, W] in [0, 1]."""
        ordered = image if self.is_in_order else image[:, self.order]
        return (ordered - self.mean) / self.std


class Inflated(nn.Module):
    """A patch embedding's projection, and one beside it for the bands after the first three.

    What is new begins at zero, so that the network says at first what it said of three bands.
    """

    def __init__(self, kept: nn.Conv2d, others: int) -> None:
        super().__init__()
        self.kept = kept
        self.more = nn.Conv2d(
            others, kept.out_channels, kept.kernel_size, kept.stride, kept.padding, bias=False
        )
        nn.init.zeros_(self.more.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.kept(x[:, :3]) + self.more(x[:, 3:])


def with_bands(settings: Mapping[str, Any], bands: int, rgb: Sequence[int]) -> dict[str, Any]:
    """Return what an encoder that sees all bands has to know of them; nothing for one of three."""
    return {"in_bands": bands, "rgb": list(rgb)} if settings["bands"] == "all" else {}
