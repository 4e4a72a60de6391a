from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np
import pytest
import torch

from convscope_sdk.errors import TechniqueError
from convscope_sdk.events import Event, Preview, Progress
from convscope_sdk.params import Params
from convscope_sdk.run import Run
from convscope_sdk.state import Memory, Saved, State
from convscope_techniques.synthesis.descent import Descent, Outcome
from convscope_techniques.synthesis.parameterization import Pixels
from convscope_techniques.synthesis.update import LBFGS, Adam, Momentum
from support.zoo import tiny

START = torch.full((1, 3, 8, 8), 0.5)


def _run(saved: Saved | None = None) -> Run[Any]:
    rng = np.random.default_rng(0)
    return Run(network=tiny(), image=START, params=Params(), rng=rng, memory=Memory(rng, saved=saved))


def _drained(stream: Generator[Event, None, Outcome]) -> tuple[list[Event], Outcome]:
    events = []
    while True:
        try:
            events.append(next(stream))
        except StopIteration as end:
            return events, end.value


def _put_down(descent: Descent, *, step: int) -> Saved:
    run = _run()
    for event in descent.run(run, START):
        step -= isinstance(event, State)
        if not step:
            return run.memory.save().by_way_of_json()
    raise AssertionError("it has fewer steps")


def _dark(pixels: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"light": pixels.mean()}


def _bumpy(pixels: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"away": (pixels - 0.45).abs().mean()}


def test_a_new_objective_is_one_line() -> None:
    _, outcome = _drained(Descent(_dark, Adam(0.05), steps=30).run(_run(), START))
    assert float(outcome.pixels.max()) == 0
    assert outcome.before == {"light": 0.5}
    assert outcome.after == {"light": 0.0}


def test_every_step_tells_its_terms_and_previews_come_as_often_as_asked_and_at_the_end() -> None:
    def objective(pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"light": pixels.mean(), "red": 2 * pixels[:, 0].mean()}

    events, _ = _drained(Descent(objective, Adam(0.01), steps=7, preview_every=3).run(_run(), START, done=10, total=20))
    progress = [event for event in events if isinstance(event, Progress)]
    assert [(event.step, event.total) for event in progress] == [(step, 20) for step in range(11, 18)]
    assert progress[0].metrics == pytest.approx({"light": 0.5, "red": 1.0, "objective": 1.5})
    assert sum(isinstance(event, Preview) for event in events) == 3


def test_one_step_of_plain_descent_is_the_step_size_times_the_gradient() -> None:
    _, outcome = _drained(Descent(_dark, Momentum(3.0, 0.0), steps=1, keep="last").run(_run(), START))
    assert torch.allclose(outcome.pixels, START - 3.0 / START.numel())


def test_codes_stay_within_their_bounds_and_free_ones_do_not() -> None:
    _, bounded = _drained(Descent(_dark, Momentum(1e4), steps=3).run(_run(), START))
    _, free = _drained(
        Descent(_dark, Momentum(1e4), 3, parameterization=Pixels(-torch.inf, torch.inf)).run(_run(), START)
    )
    assert float(bounded.pixels.min()) == 0
    assert float(free.pixels.min()) < -1


def test_the_best_code_is_kept_unless_the_last_is_asked_for() -> None:
    outcomes = {}
    for keep in ("best", "last"):
        events, outcome = _drained(Descent(_bumpy, Momentum(40.0), 9, keep=keep).run(_run(), START))  # type: ignore[arg-type]  # a literal
        outcomes[keep] = outcome.after["away"]
        met = [event.metrics["objective"] for event in events if isinstance(event, Progress)]
    assert outcomes["best"] <= min(met) < outcomes["last"]


def test_lbfgs_at_its_bounds_finds_the_nearest_picture_that_is_allowed() -> None:
    wanted = torch.linspace(-0.5, 1.5, 192).view(1, 3, 8, 8)
    weights = torch.linspace(1, 30, 192).flip(0).view(1, 3, 8, 8)

    def objective(pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"away": (weights * (pixels - wanted).square()).sum()}

    _, outcome = _drained(Descent(objective, LBFGS(10), steps=60).run(_run(), START))
    assert torch.allclose(outcome.pixels, wanted.clamp(0, 1), atol=1e-3)


def test_an_objective_that_is_not_finite_at_the_start_is_refused() -> None:
    with pytest.raises(TechniqueError, match="no way down"):
        _drained(Descent(lambda pixels: {"bad": pixels.mean() * torch.nan}, Adam(0.1), 3).run(_run(), START))


def test_nothing_is_left_on_between_events() -> None:
    stream = Descent(_dark, Adam(0.1), 3).run(_run(), START)
    for _ in stream:
        assert torch.is_grad_enabled()
    assert not START.requires_grad


@pytest.mark.parametrize("keep", ["best", "last"])
@pytest.mark.parametrize("step", [1, 4, 9])
def test_a_descent_taken_up_arrives_where_it_would_have_at_once(step: int, keep: Any) -> None:
    def descent() -> Descent:
        return Descent(_bumpy, Momentum(40.0), 9, keep=keep)

    whole, outcome = _drained(descent().run(_run(), START))
    rest, other = _drained(descent().run(_run(_put_down(descent(), step=step)), START))
    assert [e.metrics for e in rest if isinstance(e, Progress)] == [
        e.metrics for e in whole if isinstance(e, Progress)
    ][step:]
    assert torch.equal(other.code, outcome.code)
    assert (other.before, other.after, other.steps) == (outcome.before, outcome.after, 9)


@pytest.mark.parametrize("make", [lambda: Adam(0.01), LBFGS], ids=["adam", "lbfgs"])
def test_where_the_objective_became_another_one_what_was_best_before_counts_no_more(make: Any) -> None:
    def descent(weight: float) -> Descent:
        def objective(pixels: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"away": (pixels - 0.7).square().sum(), "dear": torch.full((), weight)}

        return Descent(objective, make(), 12, steered={"weight": weight})

    saved = _put_down(descent(0.0), step=1)
    _, outcome = _drained(descent(1000.0).run(_run(saved), START))
    assert outcome.before["dear"] == outcome.after["dear"] == 1000
    assert outcome.after["away"] < outcome.before["away"] < START.numel() * 0.2**2
    assert outcome.steps == 12


def test_a_descent_may_be_told_to_take_more_steps_or_fewer() -> None:
    saved = _put_down(Descent(_dark, Adam(0.01), 9), step=5)
    for steps, taken in ((3, 0), (5, 0), (14, 9)):
        events, outcome = _drained(Descent(_dark, Adam(0.01), steps).run(_run(saved), START))
        assert sum(isinstance(event, Progress) for event in events) == taken
        assert outcome.steps == 5 + taken
