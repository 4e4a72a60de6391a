"""Who is asking."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

__all__ = ["LOCAL", "Principal", "acting", "acting_as"]


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who was let in.

    Attributes:
        name: What their runs, uploads and image sets are filed under.
        admin: Whether they see everyone's, and manage models and devices.
        means: How they showed who they are: "token", "jwt", "certificate", or "none" where nobody is asked.
    """

    name: str
    admin: bool = False
    means: str = "none"

    @property
    def scope(self) -> str | None:
        """Whose things they may see: those filed under this name, or None for everyone's."""
        return None if self.admin else self.name


LOCAL = Principal("", admin=True)
"""Whoever asks a server that asks nobody who they are: on its own machine, or in its own process."""

_acting: ContextVar[Principal] = ContextVar("convscope_principal", default=LOCAL)


def acting() -> Principal:
    """Who makes the call that is being answered."""
    return _acting.get()


@contextmanager
def acting_as(principal: Principal) -> Iterator[None]:
    """What is answered within is asked by `principal`."""
    token = _acting.set(principal)
    try:
        yield
    finally:
        _acting.reset(token)
