"""A technique's parameters as a table, from the schema that the server checks requests against."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from convscope_sdk.technique import Technique

__all__ = ["cell", "default", "details", "parameter_table"]


def parameter_table(technique: Technique[Any]) -> str:
    """A Markdown table with name, type, default and meaning of each."""
    schema = technique.params.json_schema()
    rows = ["| parameter | type | default | meaning |", "|---|---|---|---|"]
    return "\n".join([*rows, *_rows(schema.get("properties", {}), schema.get("$defs", {}))])


def details(technique: Technique[Any]) -> Iterator[str]:
    """What its docstring says after the summary."""
    yield from (inspect.getdoc(technique.function) or "").split("\n\n")[1:]


def default(value: Any) -> str:
    """A default as it stands in a table."""
    if value is None or value in ("", (), []):
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{', '.join(map(str, value))}`" if isinstance(value, tuple | list) else f"`{value}`"


def cell(text: str) -> str:
    """Text that can stand in a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")


def _rows(properties: Mapping[str, Any], definitions: Mapping[str, Any]) -> Iterator[str]:
    for name, field in properties.items():
        value = default(field.get("default"))
        yield f"| `{name}` | {_type(field, definitions)} | {value} | {cell(field.get('description', ''))} |"


def _type(field: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """A JSON schema in words: `integer, 1 to 1000`."""
    if "$ref" in field:
        return _type(definitions[field["$ref"].rpartition("/")[2]], definitions)
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "anyOf" in field:
        return " or ".join(_type(option, definitions) for option in field["anyOf"] if option != {"type": "null"})
    if "format" in field:
        return str(field["format"]).removeprefix("convscope-")
    kind = field.get("type", "any")
    return f"{kind}{_bounds(field)}"


def _bounds(field: Mapping[str, Any]) -> str:
    low, above = field.get("minimum"), field.get("exclusiveMinimum")
    high = field.get("maximum")
    first = f"{low:g}" if low is not None else f"above {above:g}" if above is not None else ""
    return f", {first} to {high:g}" if first and high is not None else f", at least {first}" if low is not None else ""
