"""What the makers of known weights allow."""

import re
from pathlib import Path

KNOWN = {
    "depth-anything/Depth-Anything-V2-Small": "Apache-2.0",
    "depth-anything/Depth-Anything-V2-Base": "CC-BY-NC-4.0",
    "depth-anything/Depth-Anything-V2-Large": "CC-BY-NC-4.0",
    "LiheYoung/depth-anything-small": "Apache-2.0",
    "LiheYoung/depth-anything-base": "Apache-2.0",
    "LiheYoung/depth-anything-large": "Apache-2.0",
    "LiheYoung/depth_anything_vit": "Apache-2.0",
    "apple/DepthPro": "apple-amlr",
    "facebook/dinov2": "Apache-2.0",
    "timm/vit_small_patch14_dinov2": "Apache-2.0",
    "timm/vit_small_patch14_reg4_dinov2": "Apache-2.0",
    "timm/vit_base_patch14_dinov2": "Apache-2.0",
    "timm/vit_base_patch14_reg4_dinov2": "Apache-2.0",
    "timm/vit_large_patch14_dinov2": "Apache-2.0",
    "timm/vit_large_patch14_reg4_dinov2": "Apache-2.0",
    "timm/vit_giant_patch14_dinov2": "Apache-2.0",
    "timm/vit_giant_patch14_reg4_dinov2": "Apache-2.0",
}
"""Beginning of a hub id → SPDX name of its licence; the longest beginning counts."""

FILES = {
    "depth_anything_v2_vits.pth": "Apache-2.0",
    "depth_anything_v2_vitb.pth": "CC-BY-NC-4.0",
    "depth_anything_v2_vitl.pth": "CC-BY-NC-4.0",
    "depth_anything_vits14.pth": "Apache-2.0",
    "depth_anything_vitb14.pth": "Apache-2.0",
    "depth_anything_vitl14.pth": "Apache-2.0",
    **{f"dinov2_vit{s}14_pretrain.pth": "Apache-2.0" for s in "sblg"},
    **{f"dinov2_vit{s}14_reg4_pretrain.pth": "Apache-2.0" for s in "sblg"},
}
"""Name under which makers hand out a file → SPDX name of its licence."""

RESEARCH_ONLY = ("apple-amlr", "deepfloyd-if", "h-research", "intel-research", "ncgl-uk")
"""Beginnings of licences that forbid commercial use, and whose names do not say so."""

UNKNOWN = "unknown"


def licence_of(
    source: str | None, stated: str | None, card: str | None = None, file: str | None = None
) -> str:
    """Return the licence of a model: what the study states, what is known of the name of its
    weights' ``file`` or of its source, or what its model card says."""
    if stated is not None:
        return stated
    if source is None:
        return "none needed: drawn at random"
    found = [start for start in KNOWN if source.startswith(start)]
    known = KNOWN[max(found, key=len)] if found else _of_a_copy(Path(source).name)
    return FILES.get(Path(file or "").name) or known or card or UNKNOWN


def _of_a_copy(name: str) -> str | None:
    """Return the licence of a file or folder here that is called as its makers call it."""
    folders = {start.rpartition("/")[2]: licence for start, licence in KNOWN.items()}
    return FILES.get(name) or folders.get(name.removesuffix("-hf"))


def is_restricted(licence: str) -> bool:
    """Return whether a licence forbids commercial use."""
    name = re.sub("[^a-z0-9]+", "-", licence.lower())
    says_so = re.search(r"\bnc(?![a-z])|non-?commercial|research-(use-)?only", name)
    return bool(says_so) or name.startswith(RESEARCH_ONLY)
