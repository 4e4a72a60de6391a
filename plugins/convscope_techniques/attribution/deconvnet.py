"""What in the picture a unit answers to, by a deconvolutional network (Zeiler & Fergus 2014)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from convscope_sdk.events import Note
from convscope_sdk.run import Run
from convscope_techniques.attribution.attribution import Found, Reporting, attribution
from convscope_techniques.attribution.params import AttributionParams
from convscope_techniques.attribution.ruled_gradient import ruled_gradient
from convscope_techniques.attribution.unpooling import ZeilerUnpooling

__all__ = ["DeconvnetParams", "deconvnet"]


class DeconvnetParams(AttributionParams):
    """Parameters of `deconvnet`."""

    unpooling: Literal["switches", "zeiler"] = Field(
        "switches",
        description=(
            "The way back through max pooling: `switches`, as the gradient goes, adds up where overlapping pools "
            "share a maximum; `zeiler` writes one over the other, as the paper's unpooling does."
        ),
    )


@attribution(
    "deconvnet",
    needs={"image", "gradients", "classes"},
    cites="Zeiler & Fergus 2014, arXiv:1311.2901",
)
def deconvnet(run: Run[DeconvnetParams]) -> Reporting:
    """What in the picture a unit answers to: its activity sent back through the network, rectified on the way.

    The gradient of the score, except that a ReLU passes back max(R, 0) of the signal R that arrives, whatever its
    input was; for ReLU6 too. Max pooling is gone back through by its switches. Tensor `gradient` is (3, H, W), for
    a signal of 1 at the target. Where there is no max pooling on the way nothing tells it where in the picture
    things were (Springenberg et al. 2015): it then shows what the weights answer to, in any picture. Refused for
    networks without ReLUs.
    """
    unpooling = ZeilerUnpooling() if run.params.unpooling == "zeiler" else None
    found = ruled_gradient(run.network, run.image, run.params.target, "deconvnet", unpooling)
    yield from found.explained.events(run.network)
    yield from found.applicability()
    if unpooling is not None:
        yield Note(
            f"{unpooling.pools} max poolings unpooled, {unpooling.overlapping} of them with pools that overlap; "
            f"without overlap both ways are the same"
        )
    if not found.pools:
        yield Note(
            f"no max pooling on the way to {found.explained.target}, so there are no switches: this is what the "
            f"weights answer to, and much the same for any picture; guided_backprop does depend on the picture"
        )
    strength = yield from found.results("deconvnet")
    return Found(strength, found.explained.target)
