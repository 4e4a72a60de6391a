"""Lists of runs: which belong in one, and where a page of it begins."""

from __future__ import annotations

import base64
from typing import Any

from sqlalchemy import select

from convscope_server.errors import RequestError
from convscope_server.runs.run import RunFilter
from convscope_server.runs.schema import labels, runs

__all__ = ["matching", "number_of", "size_of", "token_of"]

_USUAL, _MOST = 50, 1000


def matching(where: RunFilter) -> list[Any]:
    """The conditions of a filter, in SQL."""
    given = [(runs.c.state, where.state), (runs.c.technique, where.technique), (runs.c.model, where.model)]
    conditions: list[Any] = [column == value for column, value in given if value]
    conditions += [] if where.owner is None else [runs.c.owner == where.owner]
    conditions += [
        select(labels.c.run).where(labels.c.run == runs.c.id, labels.c.key == key, labels.c.value == value).exists()
        for key, value in where.labels.items()
    ]
    return conditions


def size_of(page_size: int) -> int:
    """How many runs a page has where so many were asked for.

    Raises:
        RequestError: INVALID_ARGUMENT, PAGE_SIZE_INVALID.
    """
    if page_size < 0:
        raise RequestError.invalid("PAGE_SIZE_INVALID", [("page_size", f"{page_size} is below 0")])
    return min(page_size or _USUAL, _MOST)


def token_of(number: int) -> str:
    """The token of the page that follows the run of that number."""
    return base64.urlsafe_b64encode(f"before:{number}".encode()).decode()


def number_of(token: str) -> int:
    """The number that a token was made of.

    Raises:
        RequestError: INVALID_ARGUMENT, PAGE_TOKEN_INVALID.
    """
    try:
        word, number = base64.urlsafe_b64decode(token).decode().split(":")
        if word == "before":
            return int(number)
    except ValueError:
        pass
    raise RequestError.invalid("PAGE_TOKEN_INVALID", [("page_token", "not a token of an earlier page")])
