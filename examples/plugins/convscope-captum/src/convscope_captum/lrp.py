"""Layer-wise relevance propagation (Bach et al. 2015), captum's epsilon rule."""

from __future__ import annotations

import copy
from collections.abc import Iterator

from pydantic import Field
from torch import Tensor, nn

from convscope_captum.modules import refuse_unless_ruled
from convscope_captum.scored import TARGET, Scored, TargetField, quiet, shown
from convscope_sdk import Event, ImageParams, NotApplicable, Progress, Run, technique

__all__ = ["LrpParams", "lrp"]


class LrpParams(ImageParams):
    """Parameters of `captum.lrp`."""

    target: TargetField = Field(TARGET, description="Which class is explained: `top1`, or a class.")


@technique(
    "captum.lrp", needs={"image", "gradients", "classes"}, cites="Bach et al. 2015, doi:10.1371/journal.pone.0130140"
)
def lrp(run: Run[LrpParams]) -> Iterator[Event]:
    """Which pixels a class's score comes from, handed back layer by layer in proportion to what each unit gave.

    Relevance is of the normalised input. Score `conservation_gap` is the score minus the sum of all relevance: biases
    keep the difference. Tensor `attribution` has relevance by colour, (3, H, W).
    """
    from captum.attr import LRP
    from captum.attr._core.lrp import SUPPORTED_LAYERS_WITH_RULES, SUPPORTED_NON_LINEAR_LAYERS

    covered = (*SUPPORTED_LAYERS_WITH_RULES, *SUPPORTED_NON_LINEAR_LAYERS, nn.Flatten)
    refuse_unless_ruled(run.network, "LRP", covered, (), "captum.deep_lift, or integrated_gradients")
    scored = Scored.of(run.network, run.image, run.params.target)
    if not scored.target.is_class or scored.target.minus is not None:
        raise NotApplicable(f"LRP hands back the relevance of one class, not of {scored.target}; ask for a class")
    yield from scored.events()
    yield Progress(1, 2)
    with quiet():
        # Its own, since captum writes to weights on the way.
        module = _without_flatten(copy.deepcopy(run.network.module))
        pixels = run.network.normalize(run.image)
        attribution, delta = LRP(module).attribute(pixels, target=scored.target.index, return_convergence_delta=True)
    yield Progress(2, 2)
    gap = float(delta.detach().abs().max())
    yield from shown("lrp", attribution, f"relevance for {scored.target}", conservation_gap=gap)


class _Flat(nn.Module):
    """Flattens between layers, where captum, which asks every layer for its rule, does not look."""

    def __init__(self, flatten: nn.Flatten) -> None:
        super().__init__()
        self.dims = flatten.start_dim, flatten.end_dim
        self.passed_on = nn.Dropout()

    def forward(self, x: Tensor) -> Tensor:
        flat: Tensor = self.passed_on(x.flatten(*self.dims))
        return flat


def _without_flatten(module: nn.Module) -> nn.Module:
    """The copy, with every `nn.Flatten` and `nn.Identity` replaced by what captum knows."""
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.Flatten):
                setattr(parent, name, _Flat(child).eval())
            elif isinstance(child, nn.Identity):
                setattr(parent, name, nn.Dropout().eval())
    return module
