from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from convscope_sdk import Event, Note, Params, Run, Technique, technique


class NoParams(Params):
    """None."""


@technique("plain", needs={"image"}, cites="Nobody 2026", extra_images={"style": "Whose look."})
def plain(run: Run[NoParams]) -> Iterator[Event]:
    """What it shows,
    over two lines.

    Details.
    """
    yield Note("here")


def test_a_technique_is_told_by_its_function() -> None:
    assert isinstance(plain, Technique)
    assert plain.params is NoParams
    assert plain.summary == "What it shows, over two lines."
    assert plain.needs == {"image"}
    assert plain.extra_images == {"style": "Whose look."}
    assert plain.cites == "Nobody 2026"


def test_a_decorated_function_keeps_its_parameters() -> None:
    def noted(function: Callable[[Run[Any]], Iterator[Event]]) -> Callable[[Run[Any]], Iterator[Event]]:
        @functools.wraps(function)
        def wrapper(run: Run[Any]) -> Iterator[Event]:
            yield Note("before")
            yield from function(run)

        return wrapper

    assert technique("noted")(noted(plain.function)).params is NoParams


@pytest.mark.parametrize("identifier", ["Plain", "grad-cam", "", "a.b.c", "1st", "a b", ".a"])
def test_an_id_of_another_form_is_refused(identifier: str) -> None:
    with pytest.raises(ValueError, match="lower-case words"):
        technique(identifier)


@pytest.mark.parametrize("identifier", ["grad_cam", "vendor.grad_cam", "x1"])
def test_ids_of_built_ins_and_vendors_are_allowed(identifier: str) -> None:
    def show(run: Run[NoParams]) -> Iterator[Event]:
        """Something."""
        yield Note("")

    assert technique(identifier, params=NoParams)(show).id == identifier


def test_an_unknown_need_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"\['gradient'\].*gradients"):
        technique("plain", needs={"gradient"})


def test_a_function_that_yields_nothing_is_no_technique() -> None:
    def show(run: Run[NoParams]) -> Iterator[Event]:
        """Something."""
        return iter(())

    with pytest.raises(TypeError, match="generator function"):
        technique("plain", params=NoParams)(show)


def test_a_docstring_is_required_because_users_read_it() -> None:
    def show(run: Run[NoParams]) -> Iterator[Event]:
        yield Note("")

    with pytest.raises(TypeError, match="docstring"):
        technique("plain", params=NoParams)(show)


def test_parameters_that_cannot_be_found_are_asked_for() -> None:
    def bare(run) -> Iterator[Event]:  # type: ignore[no-untyped-def] # noqa: ANN001 - what is being tested
        """Something."""
        yield Note("")

    def misspelt(run: Runn[NoParams]) -> Iterator[Event]:  # type: ignore[name-defined] # noqa: F821 - likewise
        """Something."""
        yield Note("")

    def not_params(run: Run[Any]) -> Iterator[Event]:
        """Something."""
        yield Note("")

    for function in (bare, misspelt, not_params):
        with pytest.raises(TypeError, match=r"Run\[SomeParams\]"):
            technique("plain")(function)
