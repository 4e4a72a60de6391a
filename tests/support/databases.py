"""The kinds of database that a store may lie in, and a fresh one of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["KINDS", "durable", "fresh", "using"]

KINDS = ("sqlite", "postgresql")

_makers: list[Callable[[], str]] = [lambda: "sqlite://"]


def fresh() -> str:
    """The URL of an empty database of the kind in use: SQLite in memory where no test says otherwise."""
    return _makers[-1]()


def durable(folder: Path) -> str:
    """Likewise of one that is still there when it is opened again; SQLite's is a file in the folder."""
    made = fresh()
    return f"sqlite:///{folder / 'runs.db'}" if made == "sqlite://" else made


@contextmanager
def using(make: Callable[[], str]) -> Iterator[None]:
    """Within it databases are made so."""
    _makers.append(make)
    try:
        yield
    finally:
        _makers.pop()
