"""The contract between plugins and hosts: its version, and what of it is on its way out.

The policy is docs/explanation/compatibility.md. The major version is in the entry-point group, so that a plugin for
another one is seen without being imported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from convscope_sdk.technique import Technique

__all__ = ["DEPRECATIONS", "Deprecation", "warnings_of"]


@dataclass(frozen=True, slots=True)
class Deprecation:
    """Something of the contract that will go.

    Attributes:
        what: In a few words.
        since, gone: The minor versions of convscope that first warn, and that first do without.
        concerns: Whether a technique relies on it.
        advice: What to write instead.
    """

    what: str
    since: str
    gone: str
    concerns: Callable[[Technique[Any]], bool]
    advice: str


DEPRECATIONS: Sequence[Deprecation] = ()
"""What is on its way out: nothing, so far."""


def warnings_of(techniques: Iterable[Technique[Any]], deprecations: Iterable[Deprecation]) -> tuple[str, ...]:
    """What the author of these techniques should know, one line each."""
    return tuple(
        f"technique {technique.id!r}: {old.what} is deprecated since convscope {old.since} and gone in {old.gone}: "
        f"{old.advice}"
        for technique in techniques
        for old in deprecations
        if old.concerns(technique)
    )
