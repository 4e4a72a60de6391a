"""A layer's weights as pictures (Krizhevsky et al. 2012, figure 3)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from pydantic import Field
from torch import nn

from convscope_sdk.errors import NotApplicable
from convscope_sdk.events import Event, ImageGrid, Note, Scores, Table, Tensor
from convscope_sdk.network import Network
from convscope_sdk.params import Params
from convscope_sdk.run import Run
from convscope_sdk.target import LayerRef
from convscope_sdk.technique import technique
from convscope_techniques.weights.tiles import Scale, Tiles

__all__ = ["FiltersParams", "filters", "weight_of"]

_DEAD = 1e-3  # of the layer's largest standard deviation
_MAX_SENT = 2**24  # elements of raw weight in the result: 64 MiB


class FiltersParams(Params):
    """Parameters of `filters`."""

    layer: LayerRef = Field("first_conv", description="Layer whose weight is shown: a convolution or a linear one.")
    scale: Scale = Field(
        "per_filter",
        description=(
            "What black and white stand for in image `filters`: `per_filter` its own smallest and largest "
            "weight, `global` one range for the layer, symmetric about 0, by which filters can be compared. The "
            "other scale is drawn too, under its own name."
        ),
    )
    k: int = Field(
        256,
        ge=1,
        le=4096,
        description="At most so many tiles are drawn; rows, where the weight is one matrix.",
    )


@technique("filters", cites="Krizhevsky, Sutskever & Hinton 2012, figure 3")
def filters(run: Run[FiltersParams]) -> Iterator[Event]:
    """What a layer's filters look like: in colour where they see RGB, else one grey tile for each (out, in).

    Image `filters` has the chosen scale; `filters_global` or `filters_per_filter` has the other. Tensor
    `filters` is the raw weight. Table `filters` has the smallest and largest weight of each tile: a per-filter
    tile t in [0, 1] stands for min + t (max - min), a global one for (2 t - 1) limit, a score. Filters whose
    standard deviation is below 1e-3 of the layer's largest are marked dead.
    """
    name, weight = weight_of(run.network, run.params.layer)
    tiles = Tiles.of(weight, run.params.k)
    deviation = weight.flatten(1).std(1, correction=0)
    dead = (deviation < _DEAD * deviation.max()).tolist()
    limit = float(weight.abs().max()) or 1.0
    yield from _notes(run, name, weight, tiles)
    other: Scale = "global" if run.params.scale == "per_filter" else "per_filter"
    for image, scale in (("filters", run.params.scale), (f"filters_{other}", other)):
        yield ImageGrid(
            image,
            tiles.scaled(scale, limit),
            labels=_labels(tiles, dead),
            value_range=(-limit, limit) if scale == "global" else None,
            caption=f"weights of {name}, {scale.replace('_', ' ')} scale",
        )
    yield Table("filters", _rows(tiles, dead), caption="range of the weights in each tile")
    sent = weight if weight.numel() <= _MAX_SENT else weight[: run.params.k]
    yield Tensor("filters", sent, caption=f"weight of {name}")
    yield Scores({"filters": len(weight), "dead_filters": sum(dead), "limit": limit})


def weight_of(network: Network, layer: str) -> tuple[str, torch.Tensor]:
    """The layer's full name and its weight, (out, in) or (out, in, height, width).

    Raises:
        UnknownName: no layer is called so.
        NotApplicable: it has no filters; the message names layers that have.
    """
    info = network.layer(layer)
    weight = None if info.functional else _weight(network.module.get_submodule(info.module))
    if weight is not None:
        return info.module, weight
    able = [name for name, module in network.module.named_modules() if _weight(module) is not None]
    inside = [name for name in able if name.startswith(f"{info.name}.")] or able
    raise NotApplicable(f"layer {info.name!r} has no filters of its own; {' or '.join(inside[:4]) or 'none'} has")


def _weight(module: nn.Module) -> torch.Tensor | None:
    weight = getattr(module, "weight", None)
    return weight.detach() if isinstance(weight, torch.Tensor) and weight.ndim in {2, 3, 4} else None


def _labels(tiles: Tiles, dead: list[bool]) -> tuple[str, ...]:
    return tuple(
        (f"{out}" if source is None else f"{out}←{source}") + (" dead" if dead[out] else "")
        for out, source in tiles.sources
    )


def _rows(tiles: Tiles, dead: list[bool]) -> list[dict[str, Any]]:
    low, high = (bound.tolist() for bound in tiles.ranges())
    if not tiles.sources:
        return [{"tile": 0, "min": low[0], "max": high[0]}]
    return [
        {"tile": i, "out": out, "in": source, "min": low[i], "max": high[i], "dead": dead[out]}
        for i, (out, source) in enumerate(tiles.sources)
    ]


def _notes(run: Run[FiltersParams], name: str, weight: torch.Tensor, tiles: Tiles) -> Iterator[Note]:
    shape = "x".join(str(edge) for edge in weight.shape)
    yield Note(f"filters of {name}, {shape}")
    if not tiles.complete:
        yield Note(f"drawn are the first {tiles.weights.numel()} of {weight.numel()} weights: k is {run.params.k}")
    if weight.numel() > _MAX_SENT:
        yield Note(f"tensor filters holds the first {run.params.k} of {len(weight)} filters: the weight is large")
