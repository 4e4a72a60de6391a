"""One deliberately bad technique for each check of the conformance kit, good in every other respect if possible."""

from __future__ import annotations

import importlib
import itertools
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ConfigDict, Field

from convscope_sdk import (
    Event,
    Heatmap,
    Image,
    ImageParams,
    Network,
    Params,
    Progress,
    Run,
    Table,
    Technique,
    Tensor,
    technique,
    together,
)

COUNTER = itertools.count()
SEEN: list[int] = []


class Good(ImageParams):
    """Parameters as they should be."""

    steps: int = Field(3, ge=1, le=9, description="How many.")


class NoDescription(Params):
    """A field without a description, one without a bound, one without a default."""

    strength: float = 1.0
    wanted: int


class Unstable(Params):
    """A default that is never the same."""

    stamp: int = Field(default_factory=lambda: next(COUNTER), ge=0, le=10**9, description="When.")


class Lax(Params):
    """Takes anything."""

    model_config = ConfigDict(extra="allow")


class OnlySaid(Params):
    """A bound for the form that nobody checks."""

    steps: int = Field(3, description="How many.", json_schema_extra={"minimum": 1, "maximum": 9})


def _bright(run: Run[Any]) -> Heatmap:
    return Heatmap("brightness", run.image.mean(1)[0])


def _brightness(_network: Network, pixels: torch.Tensor) -> tuple[torch.Tensor]:
    return (pixels.mean(1),)


def _contrast(_network: Network, pixels: torch.Tensor) -> tuple[torch.Tensor]:
    return ((pixels - pixels.mean(0)).mean(1),)


@technique("good.brightness", needs={"image"}, batchable=True, resumable=True)
def good(run: Run[Good]) -> Iterator[Event]:
    """How bright each pixel is."""
    with run.state("looks", step=0) as state:
        while state.step < run.params.steps:
            state.step += 1
            yield Progress(state.step, run.params.steps)
            yield state
    (brightness,) = yield from together(_brightness, run.network, run.image)
    yield Heatmap("brightness", brightness[0])


@technique("bad.mixer", needs={"image"}, batchable=True)
def mixer(run: Run[Good]) -> Iterator[Event]:
    """Compares each picture of a batch with the others."""
    (contrast,) = yield from together(_contrast, run.network, run.image)
    yield Heatmap("contrast", contrast[0])


@technique("bad.boaster", needs={"image"}, batchable=True)
def boaster(run: Run[Good]) -> Iterator[Event]:
    """Says that it can be batched, and asks for nothing."""
    yield _bright(run)


@technique("bad.forgetful", needs={"image"}, resumable=True)
def forgetful(run: Run[Good]) -> Iterator[Event]:
    """Keeps its step, and forgets how bright it was by then."""
    brightness = 0.0
    with run.state("looks", step=0) as state:
        while state.step < run.params.steps:
            brightness += float(run.rng.random())
            state.step += 1
            yield Progress(state.step, run.params.steps)
            yield state
    yield Tensor("brightness", np.array([brightness]))


@technique("bad.undeclared", needs={"image"})
def undeclared(run: Run[Good]) -> Iterator[Event]:
    """Yields a state, and does not say that it would."""
    yield Progress(1, 1)
    yield run.state("looks", step=0)
    yield _bright(run)


@technique("bad.silent", needs={"image"}, resumable=True)
def silent(run: Run[Good]) -> Iterator[Event]:
    """Says that it would yield a state, and does not."""
    yield _bright(run)


@technique("bad.stuck", needs={"image"}, resumable=True)
def stuck(run: Run[Good]) -> Iterator[Event]:
    """Yields two states in one step."""
    yield Progress(1, 1)
    state = run.state("looks", step=0)
    yield state
    yield state
    yield _bright(run)


@technique("bad.words", needs={"image"})
def words(run: Run[Good]) -> Iterator[Event]:
    """A summary that goes on and on, as if it were paid for by the word, and says the same thing three times over, so
    that no listing can show it in a line, no form can head itself with it, and no reader gets to the end of it."""
    yield _bright(run)


def _with(params: type[Params], name: str) -> Technique[Any]:
    @technique(f"bad.{name}", needs={"image"}, params=params)
    def made(run: Run[Any]) -> Iterator[Event]:
        """How bright each pixel is."""
        yield _bright(run)

    return made


@technique("bad.writer", needs={"image"})
def writer(run: Run[Good]) -> Iterator[Event]:
    """Keeps a copy."""
    Path(os.environ["BAD_PLACE"], "copy.txt").write_text("mine")
    yield _bright(run)


@technique("bad.caller", needs={"image"})
def caller(run: Run[Good]) -> Iterator[Event]:
    """Calls home."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        line.connect(("127.0.0.1", 9))
    yield _bright(run)


@technique("bad.hoarder", needs={"image"})
def hoarder(run: Run[Good]) -> Iterator[Event]:
    """Remembers."""
    SEEN.append(run.seed)
    yield _bright(run)


@technique("bad.setter", needs={"image"})
def setter(run: Run[Good]) -> Iterator[Event]:
    """Sets a variable of the process, and imports a module at the same time."""
    sys.modules.pop("wave", None)
    importlib.import_module("wave")
    os.environ["BAD_MARK"] = "mine"
    yield _bright(run)


@technique("bad.babble", needs={"image"})
def babble(run: Run[Good]) -> Iterator[Event]:
    """Yields words."""
    yield "half way"  # type: ignore[misc]  # the point
    yield _bright(run)


@technique("bad.nothing", needs={"image"})
def nothing(run: Run[Good]) -> Iterator[Event]:
    """Makes no result."""
    yield Progress(1, 1)


@technique("bad.nan", needs={"image"})
def nan(run: Run[Good]) -> Iterator[Event]:
    """Divides by zero."""
    yield Heatmap("nan", run.image.mean(1)[0] * float("nan"))


@technique("bad.range", needs={"image"})
def beyond(run: Run[Good]) -> Iterator[Event]:
    """Whiter than white."""
    yield Image("bright", run.image * 255)


@technique("bad.shape", needs={"image"})
def small(run: Run[Good]) -> Iterator[Event]:
    """A map of another size."""
    yield Heatmap("small", run.image.mean(1)[0, ::2, ::2])


@technique("bad.twins", needs={"image"})
def twins(run: Run[Good]) -> Iterator[Event]:
    """Two results of one name."""
    yield _bright(run)
    yield _bright(run)


@technique("bad.backwards", needs={"image"})
def backwards(run: Run[Good]) -> Iterator[Event]:
    """Counts down."""
    yield Progress(2, 2)
    yield Progress(1, 2)
    yield _bright(run)


@technique("bad.promise", needs={"image"})
def promise(run: Run[Good]) -> Iterator[Event]:
    """Announces more than it does."""
    yield Progress(1, 100)
    yield _bright(run)


@technique("bad.slow", needs={"image"}, stall_seconds=0.01)
def slow(run: Run[Good]) -> Iterator[Event]:
    """Takes longer than it said."""
    time.sleep(0.05)
    yield _bright(run)


@technique("bad.hook", needs={"image"})
def hook(run: Run[Good]) -> Iterator[Event]:
    """Keeps its hook over a yield."""
    handle = run.network.module.register_forward_hook(lambda *_: None)
    yield Progress(1, 1)
    handle.remove()
    yield _bright(run)


@technique("bad.closing", needs={"image"})
def closing(run: Run[Good]) -> Iterator[Event]:
    """Leaves the network in another mode when it is closed."""
    try:
        yield Progress(1, 1)
    except GeneratorExit:
        run.network.module.train()
        raise
    yield _bright(run)


@technique("bad.deaf", needs={"image"})
def deaf(run: Run[Good]) -> Iterator[Event]:
    """Does not hear that it is closed."""
    try:
        yield Progress(1, 1)
    except GeneratorExit:
        yield Progress(1, 1)
    yield _bright(run)


@technique("bad.busy", needs={"image"})
def busy(run: Run[Good]) -> Iterator[Event]:
    """Does the rest of its work when it is closed."""
    try:
        yield Progress(1, 1)
    finally:
        run.network.logits(run.image)
    yield _bright(run)


@technique("bad.unseeded", needs={"image"})
def unseeded(run: Run[Good]) -> Iterator[Event]:
    """Draws from a generator of its own."""
    yield Heatmap("noise", np.random.default_rng().random(tuple(run.image.shape[-2:])))


class Shared:
    """What two runs of one technique should not share."""

    total = 0


@technique("bad.neighbour", needs={"image"})
def neighbour(run: Run[Good]) -> Iterator[Event]:
    """Counts in a place that all runs share, and tidies up only at its end."""
    Shared.total = 0
    for step in range(1, 4):
        Shared.total += run.seed
        yield Progress(step, 3)
    yield Table("total", [{"total": Shared.total}])


@technique("bad.fragile", needs={"image"})
def fragile(run: Run[Good]) -> Iterator[Event]:
    """Scales to the brightest pixel, and there may be none."""
    peak = float(run.image.max())
    if not peak:
        raise ZeroDivisionError("no light")
    yield Heatmap("brightness", run.image.mean(1)[0] / peak)


@technique("bad.secret", needs={"image"})
def secret(run: Run[Good]) -> Iterator[Event]:
    """Needs gradients and does not say so."""
    pixels = run.image.detach().requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(run.network.module(pixels).sum(), pixels)
    yield Heatmap("gradient", gradient.abs().amax(1)[0])


@technique("bad.headstrong", needs={"image"})
def headstrong(run: Run[Good]) -> Iterator[Event]:
    """Needs classes and does not say so."""
    yield Table("logits", [{"first": float(run.network.logits(run.image)[0, 0])}])


class Many(ImageParams):
    """More steps by default than the kit takes elsewhere."""

    steps: int = Field(5, ge=1, le=9, description="How many.")


@technique("bad.defaults", needs={"image"})
def defaults(run: Run[Many]) -> Iterator[Event]:
    """Works with few steps only."""
    yield Heatmap("brightness", run.image.mean(1)[0] / [1, 2, 3, 4][run.params.steps - 1])


BAD: dict[str, list[Callable[[], Technique[Any]]]] = {
    "check_describes_itself": [lambda: words],
    "check_schema_is_complete": [lambda: _with(NoDescription, "incomplete")],
    "check_schema_is_stable": [lambda: _with(Unstable, "unstable")],
    "check_unknown_params_are_refused": [lambda: _with(Lax, "lax")],
    "check_out_of_range_params_are_refused": [lambda: _with(OnlySaid, "only_said")],
    "check_writes_nothing": [lambda: writer],
    "check_uses_no_network": [lambda: caller],
    "check_keeps_no_global_state": [lambda: hoarder, lambda: setter],
    "check_yields_events": [lambda: babble, lambda: nothing],
    "check_results_are_sound": [lambda: nan, lambda: beyond, lambda: small, lambda: twins],
    "check_progress_is_monotone": [lambda: backwards, lambda: promise],
    "check_steps_keep_their_bound": [lambda: slow],
    "check_every_step_leaves_the_network_clean": [lambda: hook],
    "check_closed_early_leaves_the_network_clean": [lambda: closing, lambda: hook],
    "check_cancels_within_one_step": [lambda: deaf, lambda: busy],
    "check_same_seed_same_pixels": [lambda: unseeded],
    "check_interleaved_runs_do_not_disturb_each_other": [lambda: neighbour],
    "check_batched_runs_equal_single_ones": [lambda: mixer, lambda: boaster],
    "check_goes_on_where_it_was_put_down": [lambda: forgetful, lambda: undeclared, lambda: silent, lambda: stuck],
    "check_survives_odd_pictures": [lambda: fragile],
    "check_needs_are_honest": [lambda: secret, lambda: headstrong],
    "check_runs_with_defaults": [lambda: defaults],
}
"""For each check the techniques that it must refuse."""
