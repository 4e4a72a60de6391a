"""The options of `pytest --pyargs convscope_sdk.conformance`; imports nothing until they are used."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

__all__ = ["pytest_addoption"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the options of the conformance kit."""
    group = parser.getgroup("convscope", "convscope's conformance kit")
    group.addoption("--technique", metavar="ID", help="Technique to check, of an installed plugin or of --plugin.")
    group.addoption("--plugin", metavar="FILE", help="Plugin file to load it from.")
    group.addoption(
        "--expect", metavar="CHECK=REASON", action="append", default=[], help="A check that is to fail, and why."
    )
    group.addoption(
        "--technique-param",
        metavar="KEY=JSON",
        action="append",
        default=[],
        help="Parameter of every run but defaults'.",
    )
