"""The patches of an image set that excite a unit most (Zeiler & Fergus 2014; Springenberg et al. 2015)."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any, Literal

import numpy as np
from pydantic import Field

from convscope_sdk.errors import FieldViolation, InvalidParams
from convscope_sdk.events import Event, ImageGrid, Note, Progress, Scores, Table, Tensor
from convscope_sdk.image_sets.image_set import ImageSet
from convscope_sdk.params import Params
from convscope_sdk.rules import Rule
from convscope_sdk.run import Run
from convscope_sdk.target import Target, TargetField
from convscope_sdk.technique import technique
from convscope_techniques.attribution.ruled_gradient import gradient_picture, ruled_gradient
from convscope_techniques.indexed import indexed
from convscope_techniques.synthesis.middle import middle_layer
from convscope_techniques.units.excitation import Excitation, strongest
from convscope_techniques.units.sheet import channel_sheet

__all__ = ["MaximalPatchesParams", "maximal_patches", "unit_asked"]

_RULES: dict[str, Rule] = {"guided_backprop": "guided", "deconvnet": "deconvnet"}


class MaximalPatchesParams(Params):
    """Parameters of `maximal_patches`."""

    image_set: str = Field("samples", description="The image set that is searched.")
    target: TargetField | None = Field(
        None,
        description=(
            "A channel `blocks.4:17`, a neuron `blocks.4:17@3,3`, a class, or a layer `blocks.4` for a sheet of its "
            "channels; channel 0 of a middle layer if absent."
        ),
    )
    k: int = Field(9, ge=1, le=100, description="Patches of each unit, each of another picture.")
    backprop: Literal["none", "guided_backprop", "deconvnet"] = Field(
        "none", description="Also what in each patch drives the unit, by that rule; for one unit."
    )
    channels: int = Field(64, ge=1, le=4096, description="At most so many channels on the sheet of a layer.")
    label: str | None = Field(None, description="Label column of the set; its first where absent.")


@technique(
    "maximal_patches",
    needs={"image_set"},
    cites="Zeiler & Fergus 2014, arXiv:1311.2901; Springenberg et al. 2015, arXiv:1412.6806",
    stall_seconds=300,
    resumable=True,
)
def maximal_patches(run: Run[MaximalPatchesParams]) -> Iterator[Event]:
    """The patches of an image set that excite a unit most, cut to exactly what the unit sees of a picture.

    At most one patch of each picture, the strongest first. `patches` are padded with grey where the receptive field
    reaches outside; a layer whose field holds the whole picture has the picture. Table `patches` has name, label and
    value of each, the unit's position in its layer, and the box in pixels of the network's input (bottom and right
    exclusive), outside of which the unit's gradient is exactly zero. For a layer, `sheet` has a block of patches for
    each channel. A channel's answer comes from the index of the set; a neuron's takes a pass over it.
    """
    params = run.params
    target = unit_asked(run, params.target)
    image_set = run.image_set(params.image_set)
    image_set.labels(params.label)
    if target.kind == "layer":
        yield from _sheet(run, image_set, target)
        return
    count = _count(params, len(image_set))
    further = 0 if params.backprop == "none" else count
    found = yield from strongest(run, image_set, target, count, further_steps=further)
    yield Note(f"patches that excite {found.name} most, of {len(found.index)} pictures")
    yield Scores({"greatest": found.values[0], "least_shown": found.values[-1]})
    patches = found.patches()
    yield ImageGrid("patches", patches, labels=found.captions(params.label), caption=f"what excites {found.name} most")
    yield Tensor("values", np.array(found.values), caption=f"what {found.name} answers to the patches")
    yield Table("patches", found.rows(params.label), caption="pixels of the network's input")
    if params.backprop != "none":
        yield from _driven(run, found)


def unit_asked(run: Run[Any], asked: Target | None) -> Target:
    """The unit or layer meant, with nothing left open: a class is a channel of the logits' layer.

    Raises:
        InvalidParams: it asks for what one picture shows, or for the difference of two classes.
        TechniqueError: as `Network.resolve`.
    """
    if asked is None:
        return Target.parse(f"{middle_layer(run.network)}:0")
    if asked.kind in {"top", "contrast"}:
        text = f"{asked} is no unit: name a class, a channel, a neuron or a layer"
        raise InvalidParams(text, violations=[FieldViolation("params.target", text)])
    target = run.network.resolve(asked)
    if target.is_class:
        return Target.parse(f"{run.network.layer('logits').name}:{target.index}")
    return target


def _count(params: MaximalPatchesParams, pictures: int) -> int:
    if params.k > pictures and "k" in params.model_fields_set:
        text = f"{params.k} patches are too many: the set has {pictures} pictures, one patch of each; take k={pictures}"
        raise InvalidParams(text, violations=[FieldViolation("params.k", text)])
    return min(params.k, pictures)


def _driven(run: Run[MaximalPatchesParams], found: Excitation) -> Iterator[Event]:
    """What in each patch drives the unit, in the same crops."""
    rule, tiles, count = run.params.backprop, [], len(found.values)
    total = found.steps + count
    for number in range(count):
        ruled = ruled_gradient(run.network, found.pixels[number][None], found.neuron(number), _RULES[rule])
        if number == 0:
            yield from ruled.applicability()
        picture = gradient_picture(ruled.gradient[0])[0].cpu().numpy()
        tiles.append(found.boxes[number].crop(picture))
        yield Progress(found.steps + number + 1, total)
    yield ImageGrid(
        rule, tiles, labels=[f"{v:.3g}" for v in found.values], caption="what in each patch drives the unit"
    )


def _sheet(run: Run[MaximalPatchesParams], image_set: ImageSet, target: Target) -> Generator[Event, None, None]:
    params, layer = run.params, target.layer or ""
    index = yield from indexed(run, image_set, [layer], top_k=max(params.k, 1))
    k = _count(params, len(index))
    channels = min(params.channels, index.features(layer).shape[1])
    tiles = yield from channel_sheet(index, run.network.layer(layer), channels, k)
    top = index.top(layer, k)
    labels = [f"{channel}  {value:.3g}" for channel, value in enumerate(top.values[:channels, 0].tolist())]
    yield ImageGrid("sheet", tiles, labels=labels, caption=f"what excites each channel of {layer} most, and how much")
    yield Tensor("values", top.values[:channels], caption=f"what the channels of {layer} answer to their patches")
    names = np.array(index.names)
    yield Table(
        "sheet",
        [
            {"channel": channel, "greatest": float(top.values[channel, 0]), "names": names[top.rows[channel]].tolist()}
            for channel in range(channels)
        ],
        caption=f"pictures that excite each channel of {layer} most",
    )
    total = index.features(layer).shape[1]
    if channels < total:
        yield Note(f"shown are {channels} of {total} channels; raise channels to see more")
