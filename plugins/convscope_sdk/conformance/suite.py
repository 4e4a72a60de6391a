"""The kit as a test of pytest's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from convscope_sdk.conformance.check import CheckFunction, Outcome, name_of, run_one
from convscope_sdk.conformance.subject import Subject

if TYPE_CHECKING:
    from convscope_sdk.technique import Technique

__all__ = ["checked_names", "conformance", "report"]


def conformance(
    technique: Technique[Any],
    *,
    params: Mapping[str, Any] | None = None,
    expected_failures: Mapping[str, str] | None = None,
    patience: float = 5.0,
) -> Callable[[CheckFunction], None]:
    """Makes a test for pytest with one case for each check.

    Args:
        technique: To be checked.
        params: Given to every run but those with defaults; few steps and samples keep tests quick.
        expected_failures: Names of checks that are to fail, each with a reason; they are reported as expected.
        patience: Seconds that a run may take, imports of its own included.

    Raises:
        UnknownName: an expected failure names no check.
    """
    import pytest

    from convscope_sdk.conformance import CHECKS

    expected = checked_names(expected_failures or {})
    subject = Subject(technique, params=params, patience=patience)

    @pytest.mark.parametrize("check", CHECKS, ids=name_of)
    def test_conformance(check: CheckFunction) -> None:
        report(run_one(check, subject, expected.get(name_of(check))))

    return test_conformance


def checked_names(expected_failures: Mapping[str, str]) -> dict[str, str]:
    """The same, where every name is a check's.

    Raises:
        UnknownName: one is not; carries near names.
    """
    from convscope_sdk.conformance import CHECKS
    from convscope_sdk.errors import UnknownName

    names = [name_of(check) for check in CHECKS]
    for name in expected_failures:
        if name not in names:
            raise UnknownName.among("check", name, names)
    return dict(expected_failures)


def report(outcome: Outcome) -> None:
    """Ends the running test as the check ended, with its reason."""
    import pytest

    if outcome.state == "skipped":
        pytest.skip(outcome.detail)
    if outcome.state == "expected":
        pytest.xfail(outcome.detail)
    if outcome.state == "failed":
        pytest.fail(f"{outcome.check}: {outcome.detail}\n\nWhy it matters: {outcome.reason}", pytrace=False)
