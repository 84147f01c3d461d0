"""The ``tabulate`` section."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline_steps.study.params.base import StageParams, Title

Share = Annotated[float, Field(ge=-1, le=1)]
ClassName = Annotated[str, Field(min_length=1, max_length=80)]


class Reported(StageParams):
    """A row that others have printed."""

    name: Annotated[Title, Field(max_length=200)]
    """What the row is called: the system, the data and where the figures stand."""

    miou: Share | None = None
    """Mean IoU, as a share of 1."""

    kappa: Share | None = None
    """Cohen's kappa."""

    oa: Share | None = None
    """Overall accuracy, as a share of 1."""

    @model_validator(mode="after")
    def _says_something(self) -> "Reported":
        if self.miou is None and self.kappa is None and self.oa is None:
            raise ValueError("miou, kappa and oa are missing, expected one of them")
        return self


class Params(StageParams):
    """How tables are printed."""

    digits: Annotated[int, Field(ge=1, le=10)] = 3
    """Digits behind the point in Markdown, LaTeX and HTML; CSV keeps all."""

    baseline: Annotated[str, Field(min_length=1)] | None = None
    """The experiment that all others are compared with in `differences`; null: the first."""

    resample: Literal["auto", "scenes", "blocks"] = "auto"
    """What is drawn anew to tell how sure a difference is: test scenes, or blocks of them; `auto`
    takes scenes where there are ten."""

    pairs: tuple[tuple[str, str], ...] = ()
    """Pairs of classes that are taken for one another, for a table of their own."""

    crosswalk: dict[ClassName, Annotated[tuple[ClassName, ...], Field(min_length=1)]] = Field({})
    """What the table `transfer` compares domains by, where they tell different classes apart: a
    common class → the classes that it is made of, each class of the study in one of them. By
    default every class stands for itself."""

    reported: tuple[Reported, ...] = ()
    """Figures that others have printed, rows of `overall` marked as such and never ranked. A name
    stands once, and is no experiment's."""

    @model_validator(mode="after")
    def _names_are_reported_once(self) -> "Params":
        names = [one.name for one in self.reported]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"reported: has {name!r} twice, expected each name once")
        return self
