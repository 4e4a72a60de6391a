from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest
from PIL import Image

import convscope
from convscope.testing import FakeServer, failed, image, note, paused, preview, progress, started, succeeded, updated

RED = Image.new("RGB", (8, 8), "red")


class Handle:
    def __init__(self, pages: list[str]) -> None:
        self.pages = pages

    def update(self, card: Any) -> None:
        self.pages.append(card._repr_html_())


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a notebook was shown, in order."""
    shown: list[str] = []

    def display(card: Any, *, display_id: bool) -> Handle:
        assert display_id
        shown.append(card._repr_html_())
        return Handle(shown)

    package, module = ModuleType("IPython"), ModuleType("IPython.display")
    module.display = display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", package)
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    return shown


def run_of(*events: Any) -> convscope.Run:
    server = FakeServer()
    server.add_technique("x", events)
    return server.client().visualize("x")


def test_a_cell_shows_progress_then_pictures_then_scores_in_place(pages: list[str]) -> None:
    run = run_of(
        progress(3, 10, eta=7.2, objective=0.125),
        preview(RED),
        note("57 of <57>"),
        image("input", RED),
        image("overlay", RED, caption="the <map>"),
        succeeded({"loss": 0.5}),
    )
    assert set(run.show().images) == {"input", "overlay"}
    by_event = dict(zip(["", *range(1, 9)], pages, strict=True))
    assert "running on cpu" in by_event[2]
    assert '<progress value="3" max="10">' in by_event[3]
    assert "7 s left" in by_event[3]
    assert "objective 0.125" in by_event[3]
    assert "data:image/png;base64," in by_event[4]
    assert "57 of &lt;57&gt;" in by_event[5]
    assert "the &lt;map&gt;" not in by_event[6], "the input took the place of the preview"
    assert "the &lt;map&gt;" in by_event[7]
    assert "succeeded" in by_event[8]
    assert "loss 0.5" in by_event[8]
    assert "s left" not in by_event[8]


def test_a_cell_shows_a_pause_and_the_step_that_the_run_goes_on_from(pages: list[str]) -> None:
    before = progress(7, 10), preview(RED), paused(), started(5, attempt=2)
    run_of(*before, progress(6, 10), started(attempt=3), updated(0, layer="<b.2>")).show()
    assert "<b>paused</b>" in pages[5]
    assert "<b>running on cpu, attempt 2, from step 5</b>" in pages[6]
    assert '<progress value="5" max="10">' in pages[6]
    assert "data:image/png" in pages[6]
    assert "<progress" not in pages[8]
    assert "data:image/png" not in pages[8]
    assert "layer=&lt;b.2&gt; behind step 0" in pages[9]


def test_a_run_that_is_the_last_value_of_a_cell_shows_itself(pages: list[str]) -> None:
    run_of(failed("INTERNAL", "a bug & more"))._ipython_display_()
    assert "failed: a bug &amp; more" in pages[-1]


def test_without_a_notebook_it_says_what_to_do_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "IPython", None)
    monkeypatch.setitem(sys.modules, "IPython.display", None)
    with pytest.raises(convscope.FailedPrecondition, match="no notebook"):
        run_of().show()
