"""A run in a notebook: one cell output with the newest picture, a bar and the numbers, updated in place."""

from __future__ import annotations

import base64
import html
from importlib import import_module
from typing import Any

from convscope.errors import FailedPrecondition
from convscope.events import Artifact, Progress, Report, RunEvent, queued_words, started_words, update_words

__all__ = ["Card", "Display"]


class Card:
    """What is shown of a run now; a notebook draws it through `_repr_html_`."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.status = "accepted"
        self.progress: Progress | None = None
        self.picture: Artifact | None = None
        self.report: Report | None = None
        self.notes: list[str] = []

    def add(self, event: RunEvent) -> None:
        """Take in the next event."""
        match event.kind:
            case "queued":
                self.status = queued_words(event)
            case "started":
                self._start(event)
            case "progress":
                self.progress = event.progress
            case "preview" | "result":
                self._show(event)
            case "paused":
                self.status = "paused"
            case "note":
                self.notes.append(event.note or "")
            case "updated":
                self.notes.append(update_words(event.step, event.params))
            case "succeeded":
                self.status, self.report = "succeeded", event.report
            case "failed" | "cancelled":
                self.status = f"{event.kind}: {event.error}"

    def _start(self, event: RunEvent) -> None:
        """Progress falls back to the checkpoint, or to the beginning, where there is no picture yet."""
        self.status = f"running {started_words(event)}"
        if not event.step:
            self.progress = self.picture = None
        elif self.progress is not None:
            self.progress = Progress(event.step, self.progress.total)

    def _show(self, event: RunEvent) -> None:
        artifact = event.artifact
        if artifact is None or artifact.kind != "image" or artifact.name == "input" or artifact.content is None:
            return
        finished = self.picture is not None and self.picture.name
        if not finished or artifact.name == "overlay":
            self.picture = artifact

    def _repr_html_(self) -> str:
        parts = [self._picture_html(), self._bar_html(), *(f"<div>{html.escape(note)}</div>" for note in self.notes)]
        status = f"<div><b>{html.escape(self.status)}</b> <code>{html.escape(self.run_id)}</code></div>"
        return f'<div style="font-family: system-ui, sans-serif; max-width: 40em">{status}{"".join(parts)}</div>'

    def _picture_html(self) -> str:
        if self.picture is None or self.picture.content is None:
            return ""
        data = base64.b64encode(self.picture.content).decode("ascii")
        source = f"data:{html.escape(self.picture.media_type)};base64,{data}"
        caption = html.escape(self.picture.caption or self.picture.name or "preview")
        return f'<img src="{source}" alt="{caption}" style="max-width: 100%"><div>{caption}</div>'

    def _bar_html(self) -> str:
        numbers = self.progress.metrics if self.progress else {}
        if self.report is not None:
            numbers = {**numbers, **self.report.scores}
        text = "  ".join(f"{html.escape(name)} {value:.4g}" for name, value in numbers.items())
        if self.progress is None:
            return f"<div>{text}</div>"
        step, total = self.progress.step, self.progress.total
        bar = f'<progress value="{step}" max="{total}"></progress> {step}/{total}' if total else f"step {step}"
        eta = "" if self.progress.eta is None or self.report is not None else f", {self.progress.eta:.0f} s left"
        return f"<div>{bar}{eta} {text}</div>"


class Display:
    """Shows a run's events in the current cell.

    Raises:
        FailedPrecondition: this is no notebook.
    """

    def __init__(self, run_id: str) -> None:
        self._card = Card(run_id)
        self._handle: Any = _ipython_display()(self._card, display_id=True)

    def update(self, event: RunEvent) -> None:
        """Draw the run as it is after this event."""
        self._card.add(event)
        if self._handle is not None:
            self._handle.update(self._card)


def _ipython_display() -> Any:
    try:
        return import_module("IPython.display").display
    except ImportError as error:
        raise FailedPrecondition("this is no notebook: iterate the run, or call result(on_event=...)") from error
