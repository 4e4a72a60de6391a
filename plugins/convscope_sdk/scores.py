"""What a target measures, in numbers that can be differentiated."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from convscope_sdk.errors import InvalidTarget
from convscope_sdk.target import Target

__all__ = ["channels_of", "check_unit", "layer_value", "measure"]

_MAP_NDIM = 3
_TOKENS_NDIM = 2


def measure(target: Target, *, logits: Tensor | None = None, activations: Mapping[str, Tensor] | None = None) -> Tensor:
    """(B,) the value of a resolved target from what is at hand: logits for classes, its layer's output for units.

    Raises:
        InvalidTarget: it is out of bounds, was not resolved, or what it needs was not given.
    """
    if not target.is_class:
        activation = (activations or {}).get(target.layer or "")
        if activation is None:
            raise InvalidTarget(f"the target {target} needs the output of layer {target.layer!r}")
        return layer_value(target, activation)
    if logits is None:
        raise InvalidTarget(f"the target {target} needs logits")
    value = _logit(target, logits)
    return value if target.minus is None else value - _logit(target.minus, logits)


def layer_value(target: Target, activation: Tensor) -> Tensor:
    """(B,) of a layer ½·Σa², of a channel its mean over positions, of a neuron its value.

    `activation` is (B, C, H, W) maps, (B, N, C) tokens or (B, C) features.
    """
    check_unit(target, tuple(activation.shape[1:]))
    if target.channel is None:
        return activation.square().flatten(1).sum(1) / 2
    unit = activation.select(_channel_axis(activation.ndim - 1) + 1, target.channel)
    if target.position is not None:
        return unit[:, target.position[0], target.position[1]]
    return unit.flatten(1).mean(1) if unit.ndim > 1 else unit


def check_unit(target: Target, shape: tuple[int, ...]) -> None:
    """Refuses a channel or position that an output of that shape, without its batch axis, does not have.

    Raises:
        InvalidTarget: says what there is.
    """
    if target.channel is None:
        return
    channels = channels_of(shape)
    if channels is None:
        raise InvalidTarget(f"layer {target.layer!r} has no channels: its output is {shape}; name the layer alone")
    if target.channel >= channels:
        raise InvalidTarget(
            f"layer {target.layer!r} has {channels} channels, 0 to {channels - 1}, not {target.channel}"
        )
    if target.position is None:
        return
    if len(shape) != _MAP_NDIM:
        raise InvalidTarget(f"layer {target.layer!r} has no rows and columns: its output is {shape}; name a channel")
    height, width = shape[1:]
    if target.position[0] >= height or target.position[1] >= width:
        raise InvalidTarget(
            f"layer {target.layer!r} has {height} rows and {width} columns for this picture, so no position "
            f"{target.position[0]},{target.position[1]}"
        )


def channels_of(shape: tuple[int, ...]) -> int | None:
    """How many channels an output of that shape, without its batch axis, has: maps' first axis, tokens' last."""
    return shape[_channel_axis(len(shape))] if 1 <= len(shape) <= _MAP_NDIM else None


def _channel_axis(ndim: int) -> int:
    return 1 if ndim == _TOKENS_NDIM else 0


def _logit(target: Target, logits: Tensor) -> Tensor:
    if target.index is None:
        raise InvalidTarget(f"the target {target} has not been resolved against the network")
    if target.index >= logits.shape[1]:
        raise InvalidTarget(f"class {target.index} is out of range: there are {logits.shape[1]} classes")
    return logits[:, target.index]
