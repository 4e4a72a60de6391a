"""What the class-activation maps share: the layers looked at, the evidence there, and how maps become results."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import NamedTuple, TypeVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from convscope_sdk import events
from convscope_sdk.errors import NotApplicable
from convscope_sdk.network import Network
from convscope_sdk.run import Run
from convscope_sdk.target import LayerRef, Target
from convscope_techniques.attribution.attribution import Found, Reporting
from convscope_techniques.attribution.explained import DEFAULT_TARGET, TARGET_HELP, Explained, TargetField
from convscope_techniques.attribution.params import ScoredParams
from convscope_techniques.layout import has_maps

__all__ = [
    "CamParams",
    "Combine",
    "Evidence",
    "LayersParams",
    "cam_results",
    "check_positions",
    "drawn",
    "evidence",
    "fused",
    "gradient_cam",
    "observe",
    "upsampled",
]

Combine = Callable[[Tensor, Tensor], Tensor]
"""From maps and the score's gradient at them, (1, C, h, w) both, to their map before the ReLU, (1, 1, h, w)."""


class LayersParams(ScoredParams):
    """Which layers a class-activation map is made of."""

    layer: LayerRef = Field("last_conv", description="Layer whose maps are used; its output needs positions.")
    layers: tuple[LayerRef, ...] = Field(
        (),
        max_length=64,
        description=(
            "Several layers in place of `layer`, fused: each layer's map is cut at zero, brought to [0, 1] by its "
            "minimum and maximum, and to the picture's size by bilinear interpolation; the result is their mean."
        ),
    )

    def names(self, network: Network) -> tuple[str, ...]:
        """The layers by their names in `network`, each once.

        Raises:
            UnknownName: no such layer; carries near names.
        """
        return tuple(dict.fromkeys(network.layer(ref).name for ref in self.layers or (self.layer,)))


class CamParams(LayersParams):
    """Parameters of a class-activation map of one score."""

    target: TargetField = Field(DEFAULT_TARGET, description=TARGET_HELP)


P = TypeVar("P", bound=CamParams)


class Evidence(NamedTuple):
    """What a layer has found and how the score depends on it: maps and gradient, (1, C, h, w) both."""

    maps: Tensor
    gradient: Tensor


def gradient_cam(run: Run[P], name: str, combine: Combine) -> Reporting:
    """The events of a run whose maps are made of each layer's evidence by `combine`, then cut at zero."""
    explained, found = evidence(run.network, run.image, run.params.target, run.params.names(run.network))
    cams = {layer: combine(*at).relu() for layer, at in found.items()}
    yield from explained.events(run.network)
    values = yield from cam_results(name, cams, run.image, what=f"evidence for {explained.target}")
    return Found(values, explained.target)


def evidence(
    network: Network, pixels: Tensor, target: Target, layers: Sequence[str]
) -> tuple[Explained, dict[str, Evidence]]:
    """The score and the evidence for it at each layer: one forward pass, one backward pass down to the first layer.

    Raises:
        NotApplicable: a layer has no positions, or the target does not depend on it.
    """
    with torch.enable_grad():
        maps, explained = observe(network, pixels, target, layers)
        gradients = torch.autograd.grad(explained.score.sum(), [*maps.values()], allow_unused=True)
    found = {}
    for (layer, values), gradient in zip(maps.items(), gradients, strict=True):
        if gradient is None:
            raise NotApplicable(
                f"{explained.target} does not depend on the output of {layer!r}; take a layer before it"
            )
        found[layer] = Evidence(values.detach(), gradient)
    return explained, found


def observe(
    network: Network, pixels: Tensor, target: Target, layers: Sequence[str]
) -> tuple[dict[str, Tensor], Explained]:
    """The layers' outputs and what follows from them, in one pass and one graph that begins at them.

    Raises:
        NotApplicable: a layer has no positions.
    """
    unit = None if target.is_class else network.resolve(target, pixels)
    inside = [] if unit is None or unit.layer is None else [unit.layer]
    outputs, logits = network.activations_and_logits(pixels, *dict.fromkeys([*layers, *inside]))
    maps = {layer: outputs[layer] for layer in layers}
    check_positions(network, pixels, maps)
    resolved = unit or network.resolve(target, logits=logits)
    score = network.target_value(resolved, logits=logits, activations=outputs)
    return maps, Explained(resolved, score, logits)


def check_positions(network: Network, pixels: Tensor, maps: Mapping[str, Tensor]) -> None:
    """Refuses layers whose output is no maps of more than one position.

    Raises:
        NotApplicable: names a layer that does apply, where there is one.
    """
    for layer, output in maps.items():
        if not _has_positions(output) or not has_maps(network.layer(layer)):
            raise _without_positions(network, pixels, layer, output)


def _without_positions(network: Network, pixels: Tensor, layer: str, output: Tensor) -> NotApplicable:
    spatial = [info.name for info in network.layers if has_maps(info)]
    with torch.no_grad():
        outputs = network.activations(pixels, *spatial) if spatial else {}
    able = [name for name in spatial if _has_positions(outputs[name])]
    shape = "x".join(str(edge) for edge in output.shape[1:])
    size = "x".join(str(edge) for edge in pixels.shape[-2:])
    advice = f"take layer={able[-1]}, or a larger size" if able else "take a larger size, or saliency or occlusion"
    return NotApplicable(
        f"the output of {layer!r} is {shape} for a {size} picture: no maps of more than one position; {advice}"
    )


def _has_positions(output: Tensor) -> bool:
    return output.ndim == 4 and output.shape[2:].numel() > 1  # noqa: PLR2004 - (B, C, h, w)


def cam_results(
    name: str, cams: Mapping[str, Tensor], image: Tensor, *, what: str
) -> Generator[events.Event, None, Tensor]:
    """The map over the picture, the raw map of each layer, and notes on layers that have nothing to show.

    Gives the map that is drawn, (H, W).

    Args:
        name: Of the heatmap.
        cams: (1, 1, h, w) by layer, cut at zero.
        image: The picture, (1, 3, H, W).
        what: What the values are, for captions.
    """
    several = len(cams) > 1
    values = drawn(cams, image)
    sizes = [f"{layer}, {cam.shape[2]}x{cam.shape[3]}" for layer, cam in cams.items()]
    fusion = "mean of the layers' maps, each brought to [0, 1]: " if several else ""
    yield events.Heatmap(name, values, caption=f"{what} at {fusion}{'; '.join(sizes)}")
    for layer, cam in cams.items():
        own = f"cam_{layer}" if several else "cam"
        yield events.Tensor(own, cam[0, 0], caption=f"{what}, as {layer} has it, before interpolation")
        if not cam.any():
            yield events.Note(f"nothing at {layer} is {what}: the map is zero everywhere")
    return values


def drawn(cams: Mapping[str, Tensor], image: Tensor) -> Tensor:
    """(H, W) map as it is shown: that of one layer in its own values, those of several fused."""
    maps = list(cams.values())
    return upsampled(maps[0], image) if len(maps) == 1 else fused(maps, image)


def fused(cams: Sequence[Tensor], image: Tensor) -> Tensor:
    """(H, W) in [0, 1]: the mean of the maps, each brought to [0, 1] and then to the picture's size."""
    return torch.stack([upsampled(_normalised(cam), image) for cam in cams]).mean(0)


def upsampled(cam: Tensor, image: Tensor) -> Tensor:
    """(1, 1, h, w) brought to the picture's (H, W) by bilinear interpolation."""
    return functional.interpolate(cam, size=image.shape[-2:], mode="bilinear", align_corners=False)[0, 0]


def _normalised(cam: Tensor) -> Tensor:
    above = cam - cam.min()
    largest = above.max()
    return above / largest if largest > 0 else above
