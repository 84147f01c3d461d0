"""What a bundle says of a trained network: all that a new image is mapped with but the weights."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, ValidationError, model_validator

from pipeline_steps.study.classes import ClassLook
from pipeline_steps.study.errors import StudyError, in_one_line
from pipeline_steps.study.layout import WEIGHTS
from pipeline_steps.study.params.base import PixelValue, StageParams
from pipeline_steps.study.params.network import Baseline, DepthForge, DepthSeg
from pipeline_steps.study.params.predict import Params as Predict
from pipeline_steps.study.params.tile import Band
from pipeline_steps.study.params.tile import Params as Tile

NETWORKS = tuple(kind.model_fields["model"].default for kind in (DepthSeg, DepthForge, Baseline))

FILE = "bundle.json"
"""What a bundle's facts are called, beside its weights."""

Place = Annotated[int, Field(ge=0)]
Metres = Annotated[float, Field(gt=0)]


class Limits(StageParams):
    """What `bundle` was told."""

    gsd_factor: Annotated[float, Field(ge=1)]
    """How many times finer or coarser than the training scenes an image may be."""


class Bundle(StageParams):
    """What maps an image, beside the weights; the rest of the file says where it comes from."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    name: Annotated[str, Field(min_length=1)]
    """Experiment and run."""

    classes: Annotated[tuple[ClassLook, ...], Field(min_length=2, max_length=255)]
    """Names and colours of the classes, in the order of their index."""

    network: dict[str, Any]
    """Settings that the network is built from with nothing beside."""

    depth_control: str
    """What became of the teacher's depth in training."""

    bands: Annotated[tuple[Band, ...], Field(min_length=1)]
    """The image's bands that are kept, counted from 1."""

    rgb: tuple[Place, Place, Place]
    """Places of red, green and blue among them, counted from 0."""

    nodata: PixelValue | None
    """Image value that means "no data"."""

    dtype: str
    """Type of the image's pixels."""

    stretch: tuple[tuple[PixelValue, PixelValue], ...]
    """Values of each band that become 0 and 1."""

    gsd: tuple[Metres, Metres] | None
    """Ground sampling distance of the finest and of the coarsest training raster in metres; None
    where none has a CRS."""

    licence: str | None
    """Licence of the weights that the encoder began with; None where they were drawn."""

    params: Limits
    """What `bundle` was told."""

    predict: Predict
    """How the study makes maps."""

    made: dict[str, str]
    """Digests of the files beside this one."""

    @model_validator(mode="after")
    def _is_of_here(self) -> "Bundle":
        """Refuse what would be looked for elsewhere: a module, or a file that is not beside it."""
        if self.network.get("model") not in NETWORKS:
            found = self.network.get("model")
            raise ValueError(f"network.model is {found!r}, expected one of {', '.join(NETWORKS)}")
        if list(self.made) != [WEIGHTS]:
            raise ValueError(f"made is {', '.join(self.made) or 'nothing'}, expected {WEIGHTS}")
        return self

    @property
    def is_fed(self) -> bool:
        """Return whether the network is fed a depth when it maps."""
        is_prompted = self.network.get("prompter", False)
        return is_prompted and self.network.get("depth") in ("fed", "both")

    @property
    def tile(self) -> Tile:
        """Return how an image is read."""
        rgb = tuple(self.bands[place] for place in self.rgb)
        return Tile(bands=self.bands, rgb=rgb, nodata=self.nodata)


def read_bundle(path: Path) -> Bundle:
    """Return a bundle by its file; raises StudyError, in one line, where it is none."""
    try:
        return Bundle.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        raise StudyError(f"{path}: {in_one_line(error)}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(f"{path}: cannot be read ({error}), expected a bundle") from None
