"""Checks of what a technique says about itself, before it runs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from convscope_sdk.conformance.check import NonConformity
from convscope_sdk.errors import InvalidParams
from convscope_sdk.technique import ID

if TYPE_CHECKING:
    from convscope_sdk.conformance.subject import Subject

__all__ = [
    "check_describes_itself",
    "check_out_of_range_params_are_refused",
    "check_schema_is_complete",
    "check_schema_is_stable",
    "check_unknown_params_are_refused",
]

_LONGEST_SUMMARY = 200
_LOW = ("minimum", "exclusiveMinimum")
_NUMBERS = {"integer", "number"}
_HIGH = ("maximum", "exclusiveMaximum")


def check_describes_itself(subject: Subject) -> None:
    """Its id and summary are what users see in every listing: one printable line each."""
    technique = subject.technique
    if not ID.fullmatch(technique.id):
        raise NonConformity(f"a technique id is lower-case words, optionally vendor.name, not {technique.id!r}")
    summary = technique.summary
    if not summary or not summary.isprintable() or len(summary) > _LONGEST_SUMMARY:
        raise NonConformity(
            f"the first paragraph of the docstring is the summary: one printable sentence of at most "
            f"{_LONGEST_SUMMARY} characters, not {len(summary)}"
        )


def check_schema_is_complete(subject: Subject) -> None:
    """Forms, flags and the reference are made of the schema: every field needs a default, a description, and a bound where it is a number."""  # noqa: E501 - the reason is one paragraph
    schema = subject.technique.params.json_schema()
    missing = [
        f"{name}: no {what}" for name, field in schema.get("properties", {}).items() for what in _missing(field, schema)
    ]
    if missing:
        raise NonConformity(f"{'; '.join(missing)}; write Field(default, ge=…, le=…, description=…)")


def check_schema_is_stable(subject: Subject) -> None:
    """Clients keep schemas and repeat runs by them: two readings, and two sets of defaults, are equal."""
    params = subject.technique.params
    first, second = (json.dumps(params.json_schema(), sort_keys=True) for _ in range(2))
    if first != second:
        raise NonConformity("two readings of the schema differ; defaults must be constants")
    if params() != params():
        raise NonConformity("two sets of default parameters differ; a default_factory must always make the same")


def check_unknown_params_are_refused(subject: Subject) -> None:
    """A misspelt parameter that is silently ignored gives a wrong picture: it is refused before any work."""
    _assert_refused(subject, "no_such_parameter_", 1)


def check_out_of_range_params_are_refused(subject: Subject) -> None:
    """What the schema forbids is refused before any work, so that no run fails half way."""
    schema = subject.technique.params.json_schema()
    for name, field in schema.get("properties", {}).items():
        for value in _forbidden(field, schema):
            _assert_refused(subject, name, value)


def _assert_refused(subject: Subject, name: str, value: object) -> None:
    network = next(iter(subject.networks.values()))()
    calls: list[object] = []
    handle = network.module.register_forward_pre_hook(lambda *_: calls.append(None))
    try:
        stream = subject.stream(network, params={name: value})
    except InvalidParams:
        if calls:
            raise NonConformity(f"the network ran before {name}={value!r} was refused") from None
        return
    finally:
        handle.remove()
    del stream
    raise NonConformity(
        f"{name}={value!r} is accepted; keep `extra='forbid'` and give fields bounds that pydantic checks"
    )


def _missing(field: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    if "default" not in field:
        yield "default"
    if not str(field.get("description", "")).strip():
        yield "description"
    for option in _options(field, schema):
        is_number = _types(option) & _NUMBERS and not {"enum", "const", "format"} & option.keys()
        if is_number and not any(bound in option for bound in (*_LOW, *_HIGH)):
            yield "bound"


def _types(option: Mapping[str, Any]) -> set[str]:
    kind = option.get("type", ())
    return {kind} if isinstance(kind, str) else set(kind)


def _options(field: Mapping[str, Any], schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The alternatives of a field, references followed."""
    if "$ref" in field:
        return _options(schema.get("$defs", {})[field["$ref"].rpartition("/")[2]], schema)
    if "anyOf" in field:
        return [found for option in field["anyOf"] for found in _options(option, schema)]
    return [field]


def _not_null(options: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [option for option in options if _types(option) != {"null"}]


def _forbidden(field: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[object]:
    """Values that no alternative of the field allows."""
    options = _options(field, schema)
    if all(_types(option) <= {*_NUMBERS, "null", "boolean"} and _types(option) for option in options):
        yield "not a number"
    numbers = [option for option in options if _types(option) & _NUMBERS and "format" not in option]
    lows = [option[bound] for option in numbers for bound in _LOW if bound in option]
    highs = [option[bound] for option in numbers for bound in _HIGH if bound in option]
    if numbers and len(lows) >= len(numbers) == len(_not_null(options)):
        yield min(lows) - 1
    if numbers and len(highs) >= len(numbers) == len(_not_null(options)):
        yield max(highs) + 1
    if all("enum" in option or "const" in option for option in options):
        yield "no_such_choice_"
