"""Plain values as TOML text, which the standard library reads but does not write."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

__all__ = ["to_toml"]


def to_toml(values: Mapping[str, Any], **tables: Mapping[str, Any]) -> str:
    """The document with these keys, and a table for each further argument that is not empty.

    Values are strings, booleans, whole numbers, finite floats, and lists of them; keys are words.
    """
    parts = [_lines(values), *(f"[{name}]\n{_lines(table)}" for name, table in tables.items() if table)]
    return "\n".join(parts)


def _lines(values: Mapping[str, Any]) -> str:
    return "".join(f"{key} = {_value(value)}\n" for key, value in values.items())


def _value(value: Any) -> str:
    if isinstance(value, str):
        # JSON's escapes are TOML's, but for delete, which TOML wants escaped too.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    return repr(value)
