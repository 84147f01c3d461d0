"""The ``synthesize`` section."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline_steps.study.params.base import StageParams

Degrees = Annotated[float, Field(ge=5, le=85)]
Exponent = Annotated[float, Field(ge=0.25, le=4)]


class Shift(StageParams):
    """Another look of the same ground."""

    sun: tuple[Degrees, Degrees] = (32.0, 58.0)
    """Least and greatest altitude of the sun in degrees: the lower, the longer shadows are."""

    season: Literal["summer", "autumn", "winter"] = "summer"
    """In autumn leaves and grass have turned; in winter snow lies on most that is open, on half of
    the roofs and on little of the roads, and trees are bare."""

    haze: Annotated[float, Field(ge=0, le=0.95)] = 0.0
    """Share of the light that comes from a veil before the ground."""

    response: tuple[Exponent, Exponent, Exponent] = (1.0, 1.0, 1.0)
    """Exponents of red, green and blue: another sensor's response."""

    blur: Annotated[float, Field(ge=0, le=10)] = 0.5
    """Standard deviation of the blur in pixels."""

    noise: Annotated[float, Field(ge=0, le=0.5)] = 0.012
    """Standard deviation of the noise, as a share of full light."""


class Params(StageParams):
    """The demo's towns: drawn scenes with known classes and heights. Leave out for real imagery."""

    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    """Seed of the whole demo; each scene mixes its own name into it."""

    size: Annotated[int, Field(ge=64, le=16384)] = 1024
    """Height and width of a scene in pixels."""

    gsd: Annotated[float, Field(gt=0, le=10)] = 0.5
    """Ground sampling distance in metres per pixel."""

    shared_materials: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of roofs, plazas and roads coloured from one palette that all three use."""

    shifts: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")], Shift] = Field({})
    """Looks of the same ground: a scene called `harbour-snow` is `harbour` as `snow` shows it."""

    def look_of(self, scene: str) -> tuple[str, Shift]:
        """Return the name of the ground that a scene shows, and its look."""
        ground, _, name = scene.rpartition("-")
        return (ground, self.shifts[name]) if ground and name in self.shifts else (scene, Shift())
