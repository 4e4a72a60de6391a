"""A technique's JSON Schema, for people who type: a table of parameters, and values from text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from convscope.catalog import TechniqueInfo

__all__ = ["Parameter", "example", "parameters", "parse"]

_BOUNDS = (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"))

_JSON_TYPES: Mapping[type, set[str]] = {
    bool: {"boolean"},
    int: {"integer", "number"},
    float: {"number"},
    str: {"string"},
    list: {"array"},
    dict: {"object"},
    type(None): {"null"},
}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter, as a row of a table. `default` is JSON."""

    name: str
    type: str
    default: str
    allowed: str
    description: str


def parameters(schema: Mapping[str, Any]) -> list[Parameter]:
    """The parameters that a schema describes, in its order."""
    return [_parameter(name, field, schema) for name, field in schema.get("properties", {}).items()]


def _parameter(name: str, field: Mapping[str, Any], root: Mapping[str, Any]) -> Parameter:
    choices = list(_choices(field, root))
    words = [str(option.get("format", "")).removeprefix("convscope-") or _type(option) for option in choices]
    return Parameter(
        name=name,
        type=" or ".join(dict.fromkeys(word for word in words if word)),
        default=json.dumps(field["default"], ensure_ascii=False) if "default" in field else "",
        allowed="; ".join(filter(None, (_allowed(option) for option in choices))),
        description=str(field.get("description", "")),
    )


def _choices(field: Mapping[str, Any], root: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The alternatives of a field, with references followed."""
    if "$ref" in field:
        yield from _choices(root.get("$defs", {}).get(str(field["$ref"]).rpartition("/")[2], {}), root)
        return
    options = field.get("anyOf") or field.get("oneOf")
    if not options:
        yield field
        return
    for option in options:
        yield from _choices(option, root)


def _types(field: Mapping[str, Any]) -> list[str]:
    found = field.get("type", [])
    return [found] if isinstance(found, str) else list(found)


def _type(field: Mapping[str, Any]) -> str:
    return " or ".join(_types(field)) or ("choice" if "enum" in field or "const" in field else "any")


def _allowed(field: Mapping[str, Any]) -> str:
    if "enum" in field:
        return ", ".join(str(value) for value in field["enum"])
    if "const" in field:
        return str(field["const"])
    return ", ".join(f"{sign} {field[bound]:g}" for bound, sign in _BOUNDS if bound in field)


def parse(given: Mapping[str, str], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Values from their text, as the schema wants them: JSON where it fits, else the text itself.

    A list may be written with commas. What is wrong or unknown goes through as it is: the server says why, with
    near names.
    """
    fields = schema.get("properties", {})
    return {name: _value(text, list(_choices(fields.get(name, {}), schema))) for name, text in given.items()}


def _value(text: str, choices: list[Mapping[str, Any]]) -> Any:
    types = {kind for option in choices for kind in _types(option)}
    try:
        value = json.loads(text)
    except ValueError:
        return _without_quotes(text, choices, types)
    if types and types <= {"string", "null"} and value is not None and not isinstance(value, str):
        return text
    return [value] if "array" in types and not types & _JSON_TYPES[type(value)] else value


def _without_quotes(text: str, choices: list[Mapping[str, Any]], types: set[str]) -> Any:
    """Text that is no JSON: a word, or a list of words."""
    if "array" not in types or "string" in types:
        return text
    items = next(option.get("items", {}) for option in choices if "array" in _types(option))
    return [_value(part.strip(), [items]) for part in text.split(",")]


def example(technique: TechniqueInfo) -> str:
    """A command that runs the technique with one of its parameters spelled out."""
    words = ["convscope", "run", technique.id]
    if "image" in technique.needs:
        words += ["--image", "cat.jpg"]
    for role in technique.extra_images:
        words += ["--extra", f"{role}={role}.jpg"]
    first = next((p for p in parameters(technique.params_schema) if p.default not in {"", "null"}), None)
    if first is not None:
        value = json.loads(first.default)
        words += ["-p", f"{first.name}={value if isinstance(value, str) else first.default}"]
    return " ".join([*words, "--out", "out"])
