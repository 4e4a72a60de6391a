"""What both techniques show of a map over patches."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from convscope_attention.tokens import Attention
from convscope_sdk import Event, Heatmap, Note, Predictions, Run, Scores
from convscope_sdk import Tensor as TensorResult

__all__ = ["report", "shown"]


def report(run: Run, found: Attention) -> Iterator[Event]:  # type: ignore[type-arg]  # of either technique
    """What the network says of the picture, and what was found out about it."""
    logits = found.logits
    yield Predictions(run.network.predictions(logits))
    yield Note(found.described)
    yield Scores(
        {
            "target_score": float(found.score[0]),
            "target_probability": float(logits[0].softmax(0)[found.target.index or 0]),
            "attentions": len(found.matrices),
            "prefix_tokens": found.prefix,
        }
    )


def shown(name: str, patches: Tensor, image: Tensor, caption: str) -> Iterator[Event]:
    """The map over patches as it is, and over the picture."""
    size = tuple(image.shape[-2:])
    smooth = functional.interpolate(patches[None, None], size=size, mode="bilinear", align_corners=False)
    yield Heatmap(name, smooth[0, 0], caption=caption)
    yield TensorResult("patches", torch.as_tensor(patches), caption="one value for each patch")
