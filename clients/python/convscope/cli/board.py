"""A run in the terminal: a bar with its numbers, its notes, and its previews where they can be shown."""

from __future__ import annotations

import os
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from rich.text import Text

from convscope.cli.render import console
from convscope.cli.terminal import Protocol, cells, encode, half_blocks, protocol_of
from convscope.events import Progress as StepProgress
from convscope.events import RunEvent, queued_words, started_words, update_words

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Board", "show"]

_COLUMNS = 64
_METRICS = 4
_PAUSE = 0.1


class Board:
    """Shows events on standard error while it is entered; silent where that is no terminal.

    Args:
        title: What is running.
        preview: True shows previews, in half blocks if need be; None only where the terminal has graphics.
        out: Where to draw; standard error where absent.
    """

    def __init__(self, title: str, *, preview: bool | None = None, out: Console | None = None) -> None:
        self._out = out or console(stderr=True)
        graphics = protocol_of(os.environ) if self._out.is_terminal else None
        self._protocol: Protocol | None = None if preview is False else graphics
        self._previews = preview is True or self._protocol is not None
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[status]}", markup=False),
            console=self._out,
            auto_refresh=False,
        )
        self._task = self._bar.add_task(title, total=None, status="")
        self._live = Live(self._bar, console=self._out, auto_refresh=False, transient=True)
        self._picture: Image | None = None
        self._drawn = 0.0

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._live.stop()

    def update(self, event: RunEvent) -> None:
        """Show what happened, at most ten times a second."""
        match event.kind:
            case "queued":
                self._say(queued_words(event))
            case "started":
                self._bar.update(self._task, completed=event.step, status=started_words(event))
            case "paused":
                self._say("paused")
                self._tell(f"paused; it goes on after: convscope resume {event.run_id}")
            case "updated":
                self._tell(f"updated: {update_words(event.step, event.params)}")
            case "progress" if event.progress is not None:
                total = event.progress.total or None
                self._bar.update(self._task, completed=event.progress.step, total=total, status=_status(event.progress))
        if self._out.is_terminal and time.monotonic() - self._drawn >= _PAUSE:
            if self._previews:
                self._picture = event.preview or self._picture
            self._draw()

    def _say(self, status: str) -> None:
        self._bar.update(self._task, status=status)

    def _tell(self, line: str) -> None:
        """One line that stays."""
        if self._out.is_terminal:
            self._live.console.print(line)

    def _draw(self) -> None:
        self._drawn = time.monotonic()
        if self._picture is None:
            self._live.update(self._bar, refresh=True)
            return
        columns, rows = _room(self._picture, self._out)
        if self._protocol is None:
            self._live.update(Group(half_blocks(self._picture, columns, rows), self._bar), refresh=True)
            return
        # Room is left for the picture, which is then drawn over it: up from the bar, and back to where we were.
        self._live.update(Group(Text("\n" * (rows - 1)), self._bar), refresh=True)
        picture = encode(self._picture, self._protocol, columns, rows)
        self._out.file.write(f"\x1b7\x1b[{rows}A\r{picture}\x1b8")
        self._out.file.flush()


def show(picture: Image, out: Console, *, preview: bool | None) -> None:
    """Draw a finished picture, where previews are drawn as well."""
    protocol = protocol_of(os.environ) if out.is_terminal and preview is not False else None
    columns, rows = _room(picture, out)
    if protocol is not None:
        # Room first: a picture at the bottom of the screen would otherwise be scrolled from under the text.
        out.file.write("\n" * rows + f"\x1b[{rows}A\x1b7{encode(picture, protocol, columns, rows)}\x1b8\x1b[{rows}B\r")
        out.file.flush()
    elif preview:
        out.print(half_blocks(picture, columns, rows))


def _room(picture: Image, out: Console) -> tuple[int, int]:
    return cells(picture.size, columns=min(out.width, _COLUMNS), rows=max(4, out.height - 6))


def _status(progress: StepProgress) -> str:
    numbers = [f"{name} {value:.4g}" for name, value in list(progress.metrics.items())[:_METRICS]]
    if progress.eta is not None:
        numbers.append(f"{progress.eta:.0f} s left")
    return "  ".join(numbers)
