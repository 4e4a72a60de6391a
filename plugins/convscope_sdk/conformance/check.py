"""A check of the conformance kit: what it is called, why it is made, and how it ended."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from convscope_sdk.errors import UnknownName

if TYPE_CHECKING:
    from convscope_sdk.conformance.subject import Subject

__all__ = ["CheckFunction", "NonConformity", "NotConcerned", "Outcome", "name_of", "reason_of", "run_checks", "run_one"]

CheckFunction: TypeAlias = "Callable[[Subject], None]"
State = Literal["passed", "failed", "expected", "skipped"]

_LONGEST_DETAIL = 2000


class NonConformity(AssertionError):
    """The technique does not keep the contract; the text says what was seen and what to change."""


class NotConcerned(Exception):
    """The check has nothing to say about this technique; the text says why."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a check ended.

    Attributes:
        check: Its name.
        state: "expected" is a failure that was announced, with a reason.
        reason: Why the check is made.
        detail: What was seen, why it was skipped, or why the failure is expected.
        seconds: What it took.
    """

    check: str
    state: State
    reason: str
    detail: str = ""
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether the technique may ship with it."""
        return self.state != "failed"


def name_of(check: CheckFunction) -> str:
    """What the check is called: `check_same_seed_same_pixels`."""
    return check.__name__


def reason_of(check: CheckFunction) -> str:
    """Why it is made: the first paragraph of its docstring."""
    return " ".join((inspect.getdoc(check) or "").split("\n\n", 1)[0].split())


def run_checks(
    subject: Subject, checks: Iterable[CheckFunction], expected_failures: Mapping[str, str] | None = None
) -> Iterator[Outcome]:
    """The outcome of each check, as it ends.

    Args:
        subject: The technique, and what it is tried on.
        checks: In this order.
        expected_failures: Names of checks that are to fail, each with a reason.

    Raises:
        UnknownName: an expected failure names no check.
    """
    expected = dict(expected_failures or {})
    named = {name_of(check): check for check in checks}
    for name in expected:
        if name not in named:
            raise UnknownName.among("check", name, named)
    for name, check in named.items():
        yield run_one(check, subject, expected.get(name))


def run_one(check: CheckFunction, subject: Subject, expected: str | None = None) -> Outcome:
    """The outcome of one check. A failure that is expected and does not come is a failure too."""
    began = time.perf_counter()
    state: State
    try:
        check(subject)
        state, detail = "passed", ""
    except NotConcerned as reason:
        state, detail = "skipped", str(reason)
    except NonConformity as found:
        state, detail = "failed", str(found)
    # The technique's bug that no check foresaw, SystemExit included.
    except (Exception, SystemExit) as error:  # noqa: BLE001 - see above
        state, detail = "failed", f"{type(error).__name__}: {error}"
    if expected is not None and state == "failed":
        state, detail = "expected", f"{expected} ({detail})"
    elif expected is not None and state == "passed":
        state, detail = "failed", f"it was to fail ({expected}), and passed: take the expectation away"
    return Outcome(name_of(check), state, reason_of(check), detail[:_LONGEST_DETAIL], time.perf_counter() - began)
