"""The ``tile`` section."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline_steps.study.params.base import LabelValue, LabelWord, PixelValue, Rgb, StageParams

Band = Annotated[int, Field(ge=1, le=999)]


class Vectors(StageParams):
    """How label files of polygons are drawn."""

    layer: str | None = None
    """The file's layer; by default its first."""

    attribute: str | None = None
    """The field that says the class; without one every polygon means `value`."""

    value: LabelValue | LabelWord = 1
    """What every polygon means where no `attribute` says so."""

    background: LabelValue | LabelWord | None = None
    """What ground outside all polygons means; null: not labelled."""

    all_touched: bool = False
    """Draw every pixel that a polygon touches, not only those whose centre it covers."""


class Elevation(StageParams):
    """What elevation files hold, and how height above ground comes from it."""

    kind: Literal["ndsm", "dsm"] = "ndsm"
    """Height above ground (ndsm), or height of the surface (dsm), from which the ground is
    subtracted: the table's `terrain`, or where there is none an estimate."""

    band: Band = 1
    """The files' band that holds the heights, counted from 1."""

    unit: Annotated[float, Field(gt=0, le=1000)] = 1.0
    """Metres per unit of the files: 0.01 for centimetres, 0.3048 for feet."""

    nodata: PixelValue | None = None
    """Value that means "unknown", where the file does not say so itself."""

    ground_window: Annotated[float, Field(gt=0, le=1000)] = 60.0
    """Metres, wider than any building: the largest window of the filter that estimates the ground
    under a dsm without terrain."""

    ground_slope: Annotated[float, Field(ge=0, le=5)] = 0.2
    """Steepest ground, in metres per metre, that this filter still takes for ground."""


class Params(StageParams):
    """How rasters become aligned stores."""

    bands: Annotated[tuple[Band, ...], Field(min_length=1, max_length=64)] = (1, 2, 3)
    """The image's bands to keep, in this order, counted from 1."""

    rgb: tuple[Band, Band, Band] | None = None
    """Which of `bands` are shown to networks and figures as red, green and blue; by default the
    first three, or a lone one thrice."""

    nodata: PixelValue | None = None
    """Image value that means "no data" in all bands, where the file does not say so itself."""

    crs: Annotated[str, Field(min_length=1)] | None = None
    """CRS of rasters that have a place, as from a world file, but do not say in which CRS."""

    ignore_labels: tuple[LabelValue | LabelWord | Rgb, ...] = ()
    """Label values, RGB colours or words that are known and mean "not labelled"."""

    unlisted_labels: Literal["error", "ignore"] = "error"
    """What a label outside the classes and `ignore_labels` does."""

    label_tolerance: Annotated[int, Field(ge=0, le=127)] = 0
    """How far each channel of a label colour may be from its class's, as in lossy pictures."""

    vectors: Vectors = Vectors()
    """How label files of polygons are drawn."""

    elevation: Elevation = Elevation()
    """What elevation files hold."""

    chunk: Annotated[int, Field(ge=16, le=4096)] = 256
    """Height and width of a Zarr chunk in pixels."""

    compression: Literal["zstd", "deflate", "none"] = "zstd"
    """How chunks are compressed."""

    @property
    def rgb_positions(self) -> tuple[int, int, int]:
        """Return the places of red, green and blue among ``bands``, counted from 0."""
        if self.rgb is not None:
            first, second, third = (self.bands.index(band) for band in self.rgb)
            return first, second, third
        return (0, 1, 2) if len(self.bands) >= 3 else (0, 0, 0)

    @model_validator(mode="after")
    def _rgb_is_kept(self) -> "Params":
        if self.rgb is not None and not set(self.rgb) <= set(self.bands):
            raise ValueError(f"rgb is {list(self.rgb)}, expected three of bands {list(self.bands)}")
        if self.rgb is None and len(self.bands) == 2:
            raise ValueError("rgb is null, expected three of the two bands")
        return self
