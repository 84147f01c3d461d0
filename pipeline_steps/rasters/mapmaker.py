"""Maps of rasters by blended windows, band by band, which go on where a killed run was.

Memory holds one band of windows, whatever a raster's height; rows that are finished are on disk.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline_steps.rasters.blending import Weighting, blend
from pipeline_steps.rasters.drafts import Drafts
from pipeline_steps.rasters.maps import finish, layers_of, rows_of_maps
from pipeline_steps.rasters.raster import Grid
from pipeline_steps.rasters.store import read
from pipeline_steps.rasters.walk import Sight, Walk
from pipeline_steps.rasters.windows import Window, ahead, heard

AT_ONCE = 2**18
"""Pixels whose maps are made at a time, so that what lies between fits into a cache."""


class Network(NamedTuple):
    """What says of windows what is in them.

    ``start`` takes what each of its networks sees, [n, bands, s, s], and returns what waits for
    float32 [n, channels, s, s]: see ``rows_of_maps``. With ``is_beside`` it works meanwhile, as a
    GPU does; else it is done when it returns, and to start the next would but take memory.
    """

    start: Callable[[Sequence[np.ndarray]], Callable[[], np.ndarray]]
    channels: int
    is_beside: bool = False


Shown = Callable[[Iterable[Any], int], Iterable[Any]]
"""Passes on work of so many steps, and shows how far it is."""

Looks = Sequence[tuple[str, tuple[int, int, int]]]
"""Names and colours of the classes."""


class Windows(NamedTuple):
    """How windows lie, how many are seen at once, and how they share a pixel."""

    size: int
    overlap: float
    batch: int
    weighting: Weighting = "hann"
    halo: int = 0


class MapMaker:
    """Makes the maps of several rasters, each once.

    ``names`` are the maps that are asked for. What is not finished lies in ``work``, a folder of
    its own; an earlier run's by the same network is gone on with, to the same bytes.
    """

    def __init__(
        self,
        sights: Sequence[Sight],
        grids: Sequence[Grid],
        windows: Windows,
        names: Sequence[str],
        looks: Looks,
        work: Path,
    ) -> None:
        self.sights, self.grids, self.windows, self.work = sights, grids, windows, work
        self.looks, self.layers = looks, layers_of(names, len(looks))
        self.walk = Walk(sights, windows.size, windows.overlap, windows.batch)

    def make(
        self,
        network: Network,
        paths: Callable[[int], Mapping[str, Path]],
        shown: Shown,
        intact: Callable[[], None] = lambda: None,
    ) -> None:
        """Write the maps of every raster to where ``paths`` says by their names.

        ``intact`` is asked before rows are kept; what it raises ends the run. Raises ValueError
        where a network says what is no number.
        """
        with ExitStack() as stack:
            answers: Iterator[np.ndarray] | None = None
            for index, grid in enumerate(self.grids):
                mark, folder = self.work / f"{index}.done", self.work / f"{index}.drafts"
                if mark.exists():
                    continue
                with Drafts(folder, grid.height, grid.width, self.layers) as drafts:
                    if not drafts.is_complete:
                        band = self.walk.band_at(index, drafts.rows)
                        if answers is None:
                            # the rasters after this one have no row yet
                            own = self._answers(index, band, network, shown)
                            answers = stack.enter_context(closing(own))
                        self._look(index, band, drafts, answers, network.channels, intact)
                    finish(drafts, paths(index), grid, self.looks)
                    mark.touch()
                    drafts.remove()

    def _look(
        self,
        index: int,
        band: int,
        drafts: Drafts,
        answers: Iterator[np.ndarray],
        channels: int,
        intact: Callable[[], None],
    ) -> None:
        """Blend what a network says of a raster, from the first row that does not stand."""
        sight, size = self.sights[index], self.windows.size
        shape = (drafts.height, drafts.width, channels, size, self.windows.overlap)
        bands = blend(
            *shape,
            lambda _: next(answers),
            self.walk.has_data(index),
            self.windows.weighting,
            self.windows.halo,
            band,
        )
        for top, values in bands:
            first, bottom = drafts.rows, top + values.shape[1]
            rows = Window(first, 0, bottom - first, drafts.width)
            known = None if sight.valid is None else read(sight.valid, rows)
            # all that these rows depend on is read
            intact()
            step = max(1, AT_ONCE // drafts.width)
            for row in range(first, bottom, step):
                some = values[:, row - top : row - top + step]
                where = None if known is None else known[row - first : row - first + step]
                what = f"{sight.name}: rows {row} to {row + some.shape[1] - 1}"
                drafts.append(rows_of_maps(self.layers, some, where, len(self.looks), what))

    def _answers(
        self, index: int, band: int, network: Network, shown: Shown
    ) -> Iterator[np.ndarray]:
        """Yield what a network says of every window that a band of a raster needs, and on."""
        first = self.walk.place(index, band)
        skipped = first % self.windows.batch
        # each batch that is made ready takes memory, and reading is faster than any network
        with closing(ahead(self.walk.inputs(first), 1)) as inputs:
            shown_inputs = shown(inputs, self.walk.batches(first))
            for said in heard(shown_inputs, network.start, int(network.is_beside)):
                yield from said[skipped:]
                skipped = 0
                # or it would be there while the next is computed
                del said
