"""DeepLIFT (Shrikumar, Greenside & Kundaje 2017), the rescale rule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from pydantic import Field
from torch import nn

from convscope_captum.baselines import BASELINE_HELP, Baseline, baseline_of
from convscope_captum.modules import refuse_unless_ruled
from convscope_captum.scored import CLASS_TARGET, TARGET, Scored, Scorer, TargetField, quiet, shown
from convscope_sdk import Event, ImageParams, Note, Progress, Run, technique

__all__ = ["DeepLiftParams", "deep_lift"]

_LINEAR = (nn.Conv2d, nn.Linear, nn.BatchNorm2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.Flatten, nn.Dropout)
_LINEAR_FUNCTIONS = ("adaptive_avg_pool2d", "add", "add_", "avg_pool2d", "batch_norm", "conv2d", "linear", "mean")
# Elementwise like those that captum lists, so its rescale rule is theirs too.
_CLIPPED = (nn.ReLU6, nn.Hardtanh)


class DeepLiftParams(ImageParams):
    """Parameters of `captum.deep_lift`."""

    target: TargetField = Field(TARGET, description=CLASS_TARGET)
    baseline: Baseline = Field("black", description=BASELINE_HELP)


@technique(
    "captum.deep_lift",
    needs={"image", "gradients", "classes"},
    cites="Shrikumar, Greenside & Kundaje 2017, arXiv:1704.02685",
)
def deep_lift(run: Run[DeepLiftParams]) -> Iterator[Event]:
    """What each pixel's difference from a baseline contributes to the score's difference.

    Contributions sum to f(picture) - f(baseline); score `completeness_gap` says how nearly.
    Tensor `attribution` has them by colour, (3, H, W).
    """
    from captum.attr import DeepLift

    covered = (*_LINEAR, *_CLIPPED, *_non_linear())
    refuse_unless_ruled(run.network, "DeepLIFT", covered, _LINEAR_FUNCTIONS, _INSTEAD)
    scored = Scored.of(run.network, run.image, run.params.target)
    if not scored.target.is_class:
        yield Note("a unit inside the network is explained through the modules before it")
    yield from scored.events()
    reference = baseline_of(run.params.baseline, run.image)
    yield Progress(1, 2)
    with quiet(), _with_clipped():
        attribution, delta = DeepLift(Scorer(scored, run.network.module)).attribute(
            run.image, reference, return_convergence_delta=True
        )
    yield Progress(2, 2)
    what = f"contribution to {scored.target} against a baseline of {run.params.baseline}"
    yield from shown("deep_lift", attribution, what, completeness_gap=float(delta.detach().abs().max()))


_INSTEAD = "integrated_gradients or captum.gradient_shap, which need no rules"


def _non_linear() -> Mapping[type[nn.Module], object]:
    from captum.attr._core.deep_lift import SUPPORTED_NON_LINEAR

    return SUPPORTED_NON_LINEAR  # type: ignore[no-any-return]  # captum ships no types


@contextmanager
def _with_clipped() -> Iterator[None]:
    """Captum's table of rules, with clipped rectifiers in it for as long as the block lasts."""
    from captum.attr._core import deep_lift

    before = dict(deep_lift.SUPPORTED_NON_LINEAR)
    deep_lift.SUPPORTED_NON_LINEAR.update(dict.fromkeys(_CLIPPED, deep_lift.nonlinear))
    try:
        yield
    finally:
        deep_lift.SUPPORTED_NON_LINEAR.clear()
        deep_lift.SUPPORTED_NON_LINEAR.update(before)
