"""Techniques that do to their worker what no technique should. A loose plugin file for tests."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from convscope_sdk import ArtifactEncoder, Event, Heatmap, Image, Params, Progress, Run, Table, Tensor, Text, technique
from convscope_sdk.hookspecs import hookimpl
from convscope_sdk.models import ModelEntry, ModelSpec

if TYPE_CHECKING:
    from torch import nn

    from convscope_sdk.render import Rendered

HOSTILE = __file__


class TinySource:
    """One model that loads in no time."""

    name = "hostile"

    def entries(self) -> Iterable[ModelEntry]:
        return [ModelEntry("tiny", "a tiny seeded classifier")]

    def spec(self, name: str) -> ModelSpec | None:
        return ModelSpec("tiny", self.name, _build, input_size=32, random_weights=True) if name == "tiny" else None


@hookimpl
def convscope_model_sources() -> Iterable[Any]:
    return [TinySource()]


def _last_words(_: Rendered) -> bytes:
    os._exit(3)


@hookimpl
def convscope_artifact_encoders() -> Iterable[ArtifactEncoder]:
    return [ArtifactEncoder("text/x-last-words", "text", _last_words)]


def _build() -> nn.Module:
    import torch
    from torch import nn

    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))


class Steps(Params):
    """How long, and how slowly."""

    steps: int = Field(3, ge=1, le=100_000, description="Steps to take.")
    pause: float = Field(0.0, ge=0, le=600, description="Seconds each takes.")


@technique("hostile.words")
def words(run: Run[Params]) -> Iterator[Event]:
    """Says something, which somebody may write down in his own way."""
    yield Text("words", "hello")


@technique("hostile.count")
def count(run: Run[Steps]) -> Iterator[Event]:
    """Counts, harmlessly."""
    for step in range(1, run.params.steps + 1):
        time.sleep(run.params.pause)
        yield Progress(step, run.params.steps)


@technique("hostile.exit")
def leave(run: Run[Steps]) -> Iterator[Event]:
    """Ends the process."""
    yield Progress(1)
    os._exit(7)


@technique("hostile.segfault")
def segfault(run: Run[Steps]) -> Iterator[Event]:
    """Reads where nothing is."""
    yield Progress(1)
    ctypes.string_at(0)


@technique("hostile.stall", stall_seconds=1.0)
def stall(run: Run[Steps]) -> Iterator[Event]:
    """Never comes back from its second step."""
    yield Progress(1)
    time.sleep(600)


@technique("hostile.print")
def shout(run: Run[Steps]) -> Iterator[Event]:
    """Prints to standard output, where the front end's own words go."""
    print("noise " * 1000, flush=True)  # noqa: T201 - the point
    time.sleep(0.3)  # what is read during its turn is told to be its own
    yield Progress(1)


@technique("hostile.greedy")
def greedy(run: Run[Steps]) -> Iterator[Event]:
    """Wants a petabyte."""
    import torch

    yield Progress(1)
    torch.empty(2**50)


@technique("hostile.raise")
def fail(run: Run[Steps]) -> Iterator[Event]:
    """Has a bug."""
    yield Progress(1)
    raise ZeroDivisionError("a secret of the author")


@technique("hostile.spin", stall_seconds=1.0)
def spin(run: Run[Steps]) -> Iterator[Event]:
    """Loops for ever in Python."""
    yield Progress(1)
    while True:
        pass


@technique("hostile.stubborn", stall_seconds=1.0)
def stubborn(run: Run[Steps]) -> Iterator[Event]:
    """Loops for ever, and will not be told."""
    yield Progress(1)
    while True:
        with contextlib.suppress(BaseException):
            time.sleep(0.01)


@technique("hostile.hoard")
def hoard(run: Run[Steps]) -> Iterator[Event]:
    """Takes memory without end, piece by piece."""
    yield Progress(1)
    pieces = []
    while True:
        pieces.append(bytearray(os.urandom(1 << 20)))


@technique("hostile.creep")
def creep(run: Run[Steps]) -> Iterator[Event]:
    """Takes memory without end, a little in each step."""
    pieces = []
    step = 0
    while True:
        step += 1
        pieces.append(bytearray(b"x" * (8 << 20)))
        yield Progress(step)


@technique("hostile.gorge")
def gorge(run: Run[Steps]) -> Iterator[Event]:
    """Takes memory without end, and will not be told."""
    yield Progress(1)
    pieces = []
    while True:
        with contextlib.suppress(BaseException):
            pieces.append(bytearray(os.urandom(1 << 20)))


@technique("hostile.flood")
def flood(run: Run[Steps]) -> Iterator[Event]:
    """Prints a gigabyte."""
    yield Progress(1)
    block = b"x" * 1023 + b"\n"
    for _ in range(256):
        sys.stdout.buffer.write(block * 4096)
    yield Progress(2)


@technique("hostile.thread")
def thread(run: Run[Steps]) -> Iterator[Event]:
    """Leaves a thread running."""
    threading.Thread(target=time.sleep, args=(30,), name="left-behind", daemon=True).start()
    yield Progress(1)


@technique("hostile.files")
def files(run: Run[Steps]) -> Iterator[Event]:
    """Leaves files open."""
    KEPT.extend(open(os.devnull, "rb") for _ in range(40))  # noqa: PTH123, SIM115 - the point
    yield Progress(1)


KEPT: list[Any] = []


class Kind(Params):
    """What to yield."""

    kind: str = Field("type", description="Which garbage.")


@technique("hostile.garbage")
def garbage(run: Run[Kind]) -> Iterator[Any]:
    """Yields what no technique should."""
    yield Progress(1)
    yield GARBAGE[run.params.kind]()


GARBAGE: dict[str, Callable[[], Any]] = {
    "type": lambda: {"no": "event"},
    "step": lambda: Progress("second"),  # type: ignore[arg-type]  # which is what is wrong with it
    "nan": lambda: Heatmap("nan", np.full((8, 8), np.nan)),
    "shape": lambda: Image("shape", np.zeros((2, 3, 4, 5, 6))),
    "object": lambda: Tensor("object", np.array([object()])),
    "huge": lambda: Tensor("huge", np.zeros(1 << 30, np.uint8)),
    "endless": lambda: Image("endless", np.broadcast_to(np.float32(0.5), (3, 100_000, 100_000))),
    "rows": lambda: Table("rows", [{"cell": object()}]),
    "name": lambda: Text("", "no name"),
}
