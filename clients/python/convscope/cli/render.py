"""Values as tables for people and as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from convscope.errors import ConvscopeError

__all__ = ["console", "write_json", "write_table"]


def console(*, stderr: bool = False) -> Console:
    """A console that never takes a plugin's words for markup."""
    return Console(stderr=stderr, markup=False, highlight=False, emoji=False)


def write_json(value: Any) -> None:
    """The value as JSON on standard output."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=_plain))


def _plain(value: Any) -> Any:
    """What JSON has no word for, one level deep."""
    match value:
        case datetime():
            return value.isoformat()
        case Path():
            return str(value)
        case ConvscopeError():
            return {"code": value.code, "reason": value.reason, "message": value.message, "metadata": value.metadata}
        case set() | frozenset():
            return sorted(value)
    if isinstance(value, Mapping):
        return dict(value)
    return {field.name: getattr(value, field.name) for field in fields(value)}


def write_table(headings: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """A table on standard output, or the sentence `empty`. Piped, it is one line a row, cells apart by tabs."""
    table = list(rows)
    out = console()
    if not table:
        typer.echo(empty, err=True)
    elif not out.is_terminal:
        for row in table:
            typer.echo("\t".join(" ".join(str(cell).split()) for cell in row))
    else:
        out.print(_rich_table(headings, table))


def _rich_table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for place, heading in enumerate(headings):
        table.add_column(heading, no_wrap=place == 0, overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    return table
