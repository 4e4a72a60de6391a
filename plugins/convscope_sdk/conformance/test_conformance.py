"""`pytest --pyargs convscope_sdk.conformance --technique ID`: one test for each check."""

from __future__ import annotations

import json
from typing import Any

import pytest

from convscope_sdk.conformance import CHECKS, CheckFunction, Subject, name_of, run_one
from convscope_sdk.conformance.found import find
from convscope_sdk.conformance.suite import checked_names, report
from convscope_sdk.errors import TechniqueError

__all__: list[str] = []


@pytest.fixture(scope="module")
def subject(request: pytest.FixtureRequest) -> Subject:
    """The technique that the command line names."""
    option = request.config.getoption
    if not option("--technique"):
        pytest.skip("name a technique: --technique ID")
    try:
        technique = find(option("--technique"), [option("--plugin")] if option("--plugin") else [])
    except TechniqueError as refusal:
        raise pytest.UsageError(refusal.message) from refusal
    return Subject(technique, params={key: _value(text) for key, text in _pairs(option("--technique-param"))})


@pytest.fixture(scope="module")
def expected(request: pytest.FixtureRequest) -> dict[str, str]:
    """Checks that are to fail, with their reasons."""
    return checked_names(dict(_pairs(request.config.getoption("--expect"))))


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
def test_conformance(check: CheckFunction, subject: Subject, expected: dict[str, str]) -> None:
    """The technique keeps this part of the contract."""
    report(run_one(check, subject, expected.get(name_of(check))))


def _pairs(given: list[str]) -> list[tuple[str, str]]:
    return [(key, value) for key, _, value in (text.partition("=") for text in given)]


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
