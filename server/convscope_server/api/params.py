"""Parameters against the JSON Schema of their technique, in words that a person can act on."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import ValidationError
from referencing import Registry

from convscope_sdk.errors import InvalidTarget, near_names
from convscope_sdk.target import Target
from convscope_server.api.violations import Violations

__all__ = ["MAX_DEPTH", "check_params"]

MAX_DEPTH = 16
_REASON = "PARAMS_INVALID"
_MAX_SHOWN = 80


def check_params(
    params: Mapping[str, Any], schema: Mapping[str, Any], violations: Violations, path: str = "params"
) -> None:
    """Adds a violation for each parameter that is unknown, of the wrong type or out of range.

    Args:
        params: Plain values; whole numbers are integers whether written 3 or 3.0.
        schema: JSON Schema (2020-12). References outside it are not followed.
        violations: Gets the path ("params.octaves"), what was given, and what is allowed.
        path: Of the parameters themselves.
    """
    before = len(violations.found)
    for place, problem in _unusable(params, path, 1):
        violations.add(place, problem, _REASON)
    if len(violations.found) > before:
        return
    validator = Draft202012Validator(schema, registry=Registry(), format_checker=_formats())
    for error in validator.iter_errors(params):
        for place, problem in _in_words(error, schema, path):
            violations.add(place, problem, _REASON)


def _unusable(value: Any, path: str, depth: int) -> Iterator[tuple[str, str]]:
    """What no schema can refuse: numbers that are none, and nesting without end."""
    if depth > MAX_DEPTH:
        yield path, f"nested more than {MAX_DEPTH} deep"
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _unusable(item, f"{path}.{key[:64]}", depth + 1)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _unusable(item, f"{path}.{index}", depth + 1)
    elif isinstance(value, float) and not math.isfinite(value):
        yield path, f"given {value}; allowed: a finite number"


def _formats() -> FormatChecker:
    checker = FormatChecker(formats=())
    checker.checks("convscope-target", raises=InvalidTarget)(_is_target)
    return checker


def _is_target(value: Any) -> bool:
    whole = isinstance(value, float) and value.is_integer()
    if isinstance(value, str) or whole or (isinstance(value, int) and not isinstance(value, bool)):
        Target.parse(value)
    return True


def _in_words(error: ValidationError, root: Mapping[str, Any], start: str) -> Iterator[tuple[str, str]]:
    path = ".".join([start, *(str(part) for part in error.absolute_path)])
    if error.validator == "additionalProperties" and isinstance(error.instance, Mapping):
        known = error.schema.get("properties", {})
        for key in sorted(error.instance.keys() - known.keys()):
            yield f"{path}.{key}", _unknown(key, known)
    elif error.validator == "required" and isinstance(error.instance, Mapping):
        for key in sorted(set(error.validator_value) - error.instance.keys()):
            yield f"{path}.{key}", f"is required; allowed: {_allowed(error.schema['properties'].get(key, {}), root)}"
    elif isinstance(error.cause, InvalidTarget):
        yield path, error.cause.message
    else:
        near = _near_choice(error.instance, error.schema)
        yield path, f"given {_shown(error.instance)}; allowed: {_allowed(error.schema, root)}{near}"


def _unknown(key: str, known: Iterable[str]) -> str:
    near = near_names(key, known)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    return f"no such parameter{hint} (allowed: {', '.join(sorted(known)) or 'none'})"


def _near_choice(given: Any, schema: Mapping[str, Any]) -> str:
    choices = [c for c in schema.get("enum", ()) if isinstance(c, str)]
    near = near_names(given, choices, limit=1) if isinstance(given, str) else []
    return f" (did you mean {near[0]}?)" if near else ""


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "…"


def _allowed(schema: Mapping[str, Any], root: Mapping[str, Any]) -> str:
    """A schema as a phrase: "an integer from 1 to 20", "crop, resize, pad"."""
    options = schema.get("anyOf") or schema.get("oneOf")
    types = schema.get("type")
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        phrase = _allowed(root.get("$defs", {}).get(name, {}), root)
    elif "enum" in schema:
        phrase = ", ".join(_shown(choice) for choice in schema["enum"])
    elif "const" in schema:
        phrase = _shown(schema["const"])
    elif options:
        phrase = ", or ".join(_allowed(option, root) for option in options)
    elif "examples" in schema and "format" in schema:
        phrase = "something like " + ", ".join(map(str, schema["examples"]))
    elif isinstance(types, list):
        phrase = " or ".join(_typed({**schema, "type": one}, root) for one in types)
    else:
        phrase = _typed(schema, root)
    return phrase


def _typed(schema: Mapping[str, Any], root: Mapping[str, Any]) -> str:
    words = {
        "integer": "an integer",
        "number": "a number",
        "string": "text",
        "array": "a list",
        "object": "an object",
        "boolean": "true or false",
        "null": "null",
    }
    kind = schema.get("type", "")
    return words.get(kind, "another value") + _limits(kind, schema, root)


def _limits(kind: str, schema: Mapping[str, Any], root: Mapping[str, Any]) -> str:
    if kind in {"integer", "number"}:
        return _span(schema)
    if kind == "string":
        pattern = f" of the form {schema['pattern']}" if "pattern" in schema else ""
        return pattern + _count(schema, "Length", "characters")
    if kind == "array":
        items = schema.get("items")
        each = f", each {_allowed(items, root)}" if isinstance(items, Mapping) and items else ""
        return _count(schema, "Items", "items") + each
    if kind == "object" and "properties" in schema:
        return f" with {', '.join(schema['properties'])}"
    return ""


def _span(schema: Mapping[str, Any]) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f" from {low} to {high}"
    parts = {
        "at least": low,
        "above": schema.get("exclusiveMinimum"),
        "at most": high,
        "below": schema.get("exclusiveMaximum"),
    }
    words = [f"{word} {bound}" for word, bound in parts.items() if bound is not None]
    if "multipleOf" in schema:
        words.append(f"a multiple of {schema['multipleOf']}")
    return "".join(f" {word}" for word in [" and ".join(words)] if word)


def _count(schema: Mapping[str, Any], what: str, unit: str) -> str:
    low, high = schema.get(f"min{what}"), schema.get(f"max{what}")
    if low is not None and high is not None:
        return f" of {low} to {high} {unit}"
    if low is not None:
        return f" of at least {low} {unit}"
    return "" if high is None else f" of at most {high} {unit}"
