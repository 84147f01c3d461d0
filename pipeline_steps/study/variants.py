"""What a value of a grid's axis means: overrides of `train`, built in or a study's own."""

from collections.abc import Iterable
from typing import Any

from pipeline_steps.study.params.network import TEACHER

Variants = dict[str, dict[str, dict[str, Any]]]
"""Axis → value → overrides of `train`."""

STRIDES = (4, 8, 16, 32)


def _encoder(name: str) -> dict[str, Any]:
    """Return an encoder of this name, with nothing that stood there for another one."""
    encoder = {"name": name, "weights": None, "arguments": None, "taps": None}
    return {"network": {"encoder": encoder, "widths": None, "channels": None}}


def _parts(adapter: bool, prompter: bool) -> dict[str, Any]:
    return {"network": {"adapter": adapter, "prompter": prompter}}


def _scales(*strides: int) -> dict[str, Any]:
    return {"network": {"scales": list(strides)}}


def _elevation(depth: str) -> dict[str, Any]:
    return {"teacher": "elevation", "network": {"depth": depth}}


BUILT_IN: Variants = {
    "encoder": {
        "S": _encoder("vit_small_patch14_dinov2.lvd142m"),
        "B": _encoder("vit_base_patch14_dinov2.lvd142m"),
        "L": _encoder("vit_large_patch14_dinov2.lvd142m"),
        "g": _encoder("vit_giant_patch14_dinov2.lvd142m"),
        TEACHER: _encoder(TEACHER),
    },
    "parts": {
        "neither": _parts(adapter=False, prompter=False),
        "adapter": _parts(adapter=True, prompter=False),
        "prompter": _parts(adapter=False, prompter=True),
        "both": _parts(adapter=True, prompter=True),
    },
    "scales": {
        "all": _scales(*STRIDES),
        **{f"no{off}": _scales(*(s for s in STRIDES if s != off)) for off in STRIDES},
    },
    "control": {
        "none": {},
        "lambda0": {"depth_weight": 0.0},
        "constant": {"depth_control": "constant"},
        "shuffled": {"depth_control": "shuffled"},
        "fed": {"network": {"depth": "fed"}},
        "width": {"network": {"prompter": False, "match_width": True}},
        "elevation_label": _elevation("predicted"),
        "elevation_fed": _elevation("fed"),
        "elevation_both": _elevation("both"),
    },
}
"""What every study has."""


def sources(domains: Iterable[str]) -> Variants:
    """Return the axis that a study with domains has beside these: which one is learned from."""
    found = {name: {"domains": [name]} for name in domains}
    return {"source": found} if found else {}
