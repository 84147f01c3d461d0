"""Mask classification: each query says a class and where it is, after Mask2Former.

Cheng et al., "Masked-attention Mask Transformer for Universal Image Segmentation", CVPR 2022, as
transformers has it; pixel features and queries come from outside.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F
from transformers import Mask2FormerConfig
from transformers.models.mask2former.modeling_mask2former import (
    Mask2FormerPixelDecoder,
    Mask2FormerPreTrainedModel,
    Mask2FormerTransformerModule,
)

AT_ONCE = 10
"""Queries whose masks are at full size at a time."""

NOWHERE = 1e-8
"""Score of a class that no query sees: its logarithm is finite."""


class Masks(NamedTuple):
    """What the queries say after every layer, last the one that counts.

    Logits of their class [B, queries, classes + 1], the last for none, and of their mask
    [B, queries, H / 4, W / 4].
    """

    classes: tuple[torch.Tensor, ...]
    masks: tuple[torch.Tensor, ...]


class MaskHead(Mask2FormerPreTrainedModel):
    """Pixel decoder, masked-attention decoder and classifier over a pyramid of ``widths``.

    Strides of the pyramid are 4, 8, 16 and 32; ``config`` says the sizes. Queries are given.
    """

    def __init__(self, config: Mask2FormerConfig, widths: Sequence[int]) -> None:
        super().__init__(config)
        self.pixel_decoder = Mask2FormerPixelDecoder(config, list(widths))
        self.transformer_module = Mask2FormerTransformerModule(config.feature_size, config)
        self.class_predictor = nn.Linear(config.hidden_dim, config.num_labels + 1)
        self.to_query_features = nn.Linear(config.hidden_dim, config.hidden_dim)
        self.transformer_module.queries_embedder = _Given()
        self.transformer_module.queries_features = _Given()
        self.post_init()

    def forward(self, pyramid: Sequence[torch.Tensor], queries: torch.Tensor) -> Masks:
        """Return what ``queries`` [queries, width] say of a ``pyramid``, finest first."""
        seen = self.pixel_decoder(
            list(pyramid), output_hidden_states=False, output_attentions=False, return_dict=True
        )
        self.transformer_module.queries_embedder.weight = queries
        self.transformer_module.queries_features.weight = self.to_query_features(queries)
        found = self.transformer_module(seen.multi_scale_features, seen.mask_features)
        states = found.intermediate_hidden_states
        classes = tuple(self.class_predictor(state.transpose(0, 1)) for state in states)
        return Masks(classes, tuple(found.masks_queries_logits))


class _Given(nn.Module):
    """Stands where transformers keeps queries that are the same for every network."""

    weight: torch.Tensor


def head_config(
    classes: int, queries: int, width: int, layers: int, pixel_layers: int, heads: int
) -> Mask2FormerConfig:
    """Return transformers' config of a head with so many ``layers`` after the first prediction."""
    return Mask2FormerConfig(
        num_labels=classes,
        num_queries=queries,
        feature_size=width,
        mask_feature_size=width,
        hidden_dim=width,
        encoder_feedforward_dim=4 * width,
        dim_feedforward=8 * width,
        encoder_layers=pixel_layers,
        # transformers counts the first prediction, which needs no layer
        decoder_layers=layers + 1,
        num_attention_heads=heads,
    )


def semantic(said: Masks, size: Sequence[int]) -> torch.Tensor:
    """Return logits [B, classes, H, W] whose softmax is each class's share of what queries say.

    A class's score at a pixel is the sum over queries of the probability that it is that class
    times the probability that its mask is there, which is Mask2Former's semantic inference.
    """
    with torch.autocast(said.masks[-1].device.type, enabled=False):
        classes = said.classes[-1].float().softmax(-1)[..., :-1]
        # not all at once: at full size they would be the largest of all that a network holds
        parts = zip(classes.split(AT_ONCE, 1), said.masks[-1].split(AT_ONCE, 1), strict=True)
        scores = sum(
            torch.einsum("bqk,bqhw->bkhw", share, _at(masks, size)) for share, masks in parts
        )
    return scores.clamp_min(NOWHERE).log()


def _at(masks: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    return F.interpolate(masks.float(), list(size), mode="bilinear").sigmoid()
