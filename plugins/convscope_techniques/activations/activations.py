"""What each channel of a layer answers to a picture (Zeiler & Fergus 2014; Yosinski et al. 2015)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import torch
from pydantic import Field

from convscope_sdk.errors import NotApplicable
from convscope_sdk.events import Event, ImageGrid, Note, Scores, Table, Tensor
from convscope_sdk.layers import LayerInfo
from convscope_sdk.params import ImageParams
from convscope_sdk.run import Run
from convscope_sdk.target import LayerRef
from convscope_sdk.technique import technique
from convscope_techniques.layout import has_maps

__all__ = ["ActivationsParams", "activations"]

_DEAD = 1e-3  # of the layer's largest standard deviation


class ActivationsParams(ImageParams):
    """Parameters of `activations`."""

    layer: LayerRef = Field("first_conv", description="Layer whose output is shown: a module or a functional node.")
    k: int = Field(64, ge=1, le=4096, description="At most so many channels are drawn.")
    sort: Literal["none", "mean", "max"] = Field(
        "none", description="Draw channels in order of index, or by their largest `mean` or `max` first."
    )
    scale: Literal["layer", "per_channel"] = Field(
        "layer",
        description=(
            "What black and white stand for: `layer` the smallest and largest value of the layer, by which "
            "channels can be compared, `per_channel` each channel's own."
        ),
    )


@technique("activations", needs={"image"}, cites="Zeiler & Fergus 2014, arXiv:1311.2901; Yosinski et al. 2015")
def activations(run: Run[ActivationsParams]) -> Iterator[Event]:
    """What every channel of a layer answers to the picture, as one sheet of maps.

    Tensor `activations` is the layer's whole output, (C, h, w), or (C,) where it has no positions; each
    channel is then one cell. Table `activations` has the range and mean of every channel. Channels whose
    standard deviation is at most 1e-3 of the layer's largest, or that are zero where there is one position, are
    marked dead.
    """
    params = run.params
    layer = run.network.layer(params.layer)
    name = layer.name
    with torch.no_grad():
        output = run.network.activations(run.image, name)[name][0]
    maps = _maps(run, layer, output)
    low, high = maps.flatten(1).aminmax(dim=1)
    dead = _dead(maps)
    order = _order(maps, params.sort)[: params.k]
    scaled = _scaled(maps[order], params.scale, (float(low.min()), float(high.max())))
    yield ImageGrid(
        "activations",
        scaled[:, None],
        labels=[f"{c}{' dead' if dead[c] else ''}" for c in order.tolist()],
        value_range=(float(low.min()), float(high.max())) if params.scale == "layer" else None,
        caption=f"output of {name}, {params.scale.replace('_', ' ')} scale",
    )
    if len(order) < len(maps):
        yield Note(f"drawn are {len(order)} of {len(maps)} channels; raise k to draw more")
    yield Tensor("activations", output, caption=f"output of {name}")
    yield Table("activations", _rows(maps, dead), caption="range of each channel")
    yield Scores(
        {
            "channels": len(maps),
            "dead_channels": int(dead.sum()),
            "positive": float((maps > 0).float().mean()),
        }
    )


def _maps(run: Run[ActivationsParams], layer: LayerInfo, output: torch.Tensor) -> torch.Tensor:
    if output.ndim == 1:
        return output[:, None, None]
    if has_maps(layer) or tuple(output.shape[1:]) == (1, 1):
        return output
    able = [info.name for info in run.network.layers if has_maps(info)]
    raise NotApplicable(
        f"the output of {layer.name!r} is {tuple(output.shape)} for one picture: no channels with positions, nor a "
        f"plain vector; take {' or '.join(able[-3:]) or 'another network'}"
    )


def _dead(maps: torch.Tensor) -> torch.Tensor:
    if maps[0].numel() == 1:
        return maps.flatten() == 0
    deviation = maps.flatten(1).std(1, correction=0)
    return deviation <= _DEAD * deviation.max()


def _order(maps: torch.Tensor, sort: str) -> torch.Tensor:
    if sort == "none":
        return torch.arange(len(maps), device=maps.device)
    key = maps.flatten(1).mean(1) if sort == "mean" else maps.flatten(1).amax(1)
    return key.argsort(descending=True, stable=True)


def _scaled(maps: torch.Tensor, scale: str, bounds: tuple[float, float]) -> torch.Tensor:
    low, high = torch.tensor(bounds, device=maps.device)[:, None, None, None]
    if scale == "per_channel":
        low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return torch.where(high > low, (maps - low) / (high - low), 0.0)


def _rows(maps: torch.Tensor, dead: torch.Tensor) -> list[dict[str, Any]]:
    flat = maps.flatten(1)
    columns = zip(flat.amin(1).tolist(), flat.amax(1).tolist(), flat.mean(1).tolist(), dead.tolist(), strict=True)
    return [
        {"channel": c, "min": low, "max": high, "mean": mean, "dead": is_dead}
        for c, (low, high, mean, is_dead) in enumerate(columns)
    ]
