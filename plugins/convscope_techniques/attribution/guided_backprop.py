"""What in the picture drives a unit up, with every ReLU passing support alone (Springenberg et al. 2015)."""

from __future__ import annotations

from convscope_sdk.run import Run
from convscope_techniques.attribution.attribution import Found, Reporting, attribution
from convscope_techniques.attribution.params import AttributionParams
from convscope_techniques.attribution.ruled_gradient import ruled_gradient

__all__ = ["GuidedBackpropParams", "guided_backprop"]


class GuidedBackpropParams(AttributionParams):
    """Parameters of `guided_backprop`."""


@attribution(
    "guided_backprop",
    needs={"image", "gradients", "classes"},
    cites="Springenberg et al. 2015, arXiv:1412.6806",
)
def guided_backprop(run: Run[GuidedBackpropParams]) -> Reporting:
    """What in the picture drives a class or a unit up: sharp edges and parts, by guided backpropagation.

    The gradient of the score, except that a ReLU passes back max(R, 0) [x > 0] of the gradient R that arrives;
    for ReLU6 [0 < x < 6]. Tensor `gradient` is (3, H, W). It shows what the network can see more than what it
    decides by: pictures of different classes look alike, also with random weights (Adebayo et al. 2018). Refused
    for networks without ReLUs.
    """
    found = ruled_gradient(run.network, run.image, run.params.target, "guided")
    yield from found.explained.events(run.network)
    yield from found.applicability()
    strength = yield from found.results("guided_backprop")
    return Found(strength, found.explained.target)
