"""The one language for "what is looked at": classes, channels, neurons and contrasts.

    top1, top3                      the first, the third most probable class of the picture
    class:285, 285                  a class by index
    class:"Egyptian cat"            a class by label
    285-281                         a contrast: logit of the first minus logit of the second
    blocks.4                        a whole layer: ½·‖a‖², the DeepDream objective
    blocks.4:17                     a channel: its mean over positions
    blocks.4:17@6,6                 a neuron: channel 17 at row 6, column 6

Layers are dotted module names, functional nodes ("layer1.0.add") or aliases ("last_conv").
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema
from pydantic_core import core_schema

from convscope_sdk.errors import InvalidTarget, shown

__all__ = ["LayerRef", "Target", "TargetField", "target_field"]

_EXAMPLES = 'top1, class:285, class:"Egyptian cat", 285-281, blocks.4, blocks.4:17, blocks.4:17@6,6'
_LONGEST = 500
_MOST_INDEX = 999_999_999
_TOP = re.compile(r"top([1-9]\d{0,3})")
_INDEX = re.compile(r"\d{1,9}")
_CLASS = r"class:[^\s\"]+?|class:\"[^\"]+\"|\d{1,9}"
_CONTRAST = re.compile(rf"(?P<a>{_CLASS})\s*-\s*(?P<b>{_CLASS})")
_LAYER_NAME = r"\w+(?:\.\w+)*"  # the layers of a bare nn.Sequential are called "0", "1", …
_UNIT = re.compile(rf"(?P<layer>{_LAYER_NAME})(?::(?P<channel>\d{{1,9}})(?:@(?P<y>\d{{1,6}}),(?P<x>\d{{1,6}}))?)?")
_LAYER = re.compile(_LAYER_NAME)


@dataclass(frozen=True, slots=True)
class Target:
    """A target as written, read but not yet resolved against a network.

    Attributes:
        kind: Which of the forms it is.
        text: The canonical spelling; `Target.parse(t.text) == t`.
        rank: From 1, for "top".
        index, label: Of a "class"; exactly one is set.
        minus: The class subtracted, for "contrast".
        layer, channel, position: Of a "layer", "channel" or "neuron"; position is (row, column).
    """

    kind: Literal["top", "class", "contrast", "layer", "channel", "neuron"]
    text: str
    rank: int = 0
    index: int | None = None
    label: str | None = None
    minus: Target | None = None
    layer: str | None = None
    channel: int | None = None
    position: tuple[int, int] | None = None

    @classmethod
    def parse(cls, value: str | int | Target) -> Target:
        """The target that `value` spells.

        Raises:
            InvalidTarget: where it spells none; the message lists every form.
        """
        if isinstance(value, Target):
            return value
        given: object = value
        if isinstance(given, float) and given.is_integer():  # protobuf's Struct knows doubles only
            given = int(given)
        if isinstance(given, bool) or not isinstance(given, str | int):
            raise InvalidTarget(f"a target is written like {_EXAMPLES}, not {shown(given)}")
        text = str(given).strip() if isinstance(given, str) or 0 <= given <= _MOST_INDEX else ""
        target = None
        if len(text) <= _LONGEST:
            target = _parse_class(text) or _parse_contrast(text) or _parse_unit(text)
        if target is None:
            raise InvalidTarget(f"cannot read the target {shown(given)}; write {_EXAMPLES}")
        return target

    @property
    def is_class(self) -> bool:
        """Whether it is about the network's logits rather than a layer inside it."""
        return self.kind in {"top", "class", "contrast"}

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls.parse, serialization=core_schema.plain_serializer_function_ser_schema(str)
        )

    def __str__(self) -> str:
        return self.text


def _parse_class(text: str) -> Target | None:
    if match := _TOP.fullmatch(text):
        rank = int(match[1])
        return Target("top", f"top{rank}", rank=rank)
    name = text.removeprefix("class:").strip()
    quoted = len(name) > 2 and name[0] == name[-1] == '"'  # noqa: PLR2004 - two quotes and a label
    if not quoted and _INDEX.fullmatch(name):
        return Target("class", f"class:{int(name)}", index=int(name))
    label = name.strip('"') if quoted else name
    # Without quotes a label has no digits-and-dash forms, so that contrasts stay contrasts.
    if text.startswith("class:") and label and '"' not in label and (quoted or not _CONTRAST.fullmatch(text)):
        return Target("class", f'class:"{label}"', label=label)
    return None


def _parse_contrast(text: str) -> Target | None:
    match = _CONTRAST.fullmatch(text)
    if match is None:
        return None
    first, second = _parse_class(match["a"]), _parse_class(match["b"])
    if first is None or second is None:
        return None
    spelled = f"{first.text}-{second.text}"
    if first.index is not None and second.index is not None:
        spelled = f"{first.index}-{second.index}"
    return Target("contrast", spelled, index=first.index, label=first.label, minus=second)


def _parse_unit(text: str) -> Target | None:
    match = _UNIT.fullmatch(text)
    if match is None:
        return None
    layer = match["layer"]
    if match["channel"] is None:
        if layer.isdecimal():
            return None  # an index that is too large
        return Target("layer", layer, layer=layer)
    channel = int(match["channel"])
    if match["y"] is None:
        return Target("channel", f"{layer}:{channel}", layer=layer, channel=channel)
    position = (int(match["y"]), int(match["x"]))
    return Target(
        "neuron", f"{layer}:{channel}@{position[0]},{position[1]}", layer=layer, channel=channel, position=position
    )


def _parse_layer(value: Any) -> str:
    text = value.strip() if isinstance(value, str) else ""
    if len(text) > _LONGEST or not _LAYER.fullmatch(text):
        raise InvalidTarget(f"cannot read the layer {shown(value)}; write a dotted name such as blocks.4, or last_conv")
    return text


TargetField = Annotated[
    Target,
    WithJsonSchema({"type": ["string", "integer"], "format": "convscope-target", "examples": _EXAMPLES.split(", ")}),
]
"""A `Target` as a field of `Params`: accepts its spelling, a class index, or a `Target`."""

LayerRef = Annotated[
    str,
    BeforeValidator(_parse_layer),
    PlainSerializer(str),
    WithJsonSchema({"type": "string", "format": "convscope-layer", "pattern": f"^{_LAYER_NAME}$"}),
]
"""The name of a layer as a field of `Params`."""


def target_field(spelling: str) -> Target:
    """A default for a `TargetField`."""
    return Target.parse(spelling)
