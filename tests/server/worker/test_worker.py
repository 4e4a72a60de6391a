"""Runs taking turns on one device: order, ends, and what reaches the log."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import PIL.Image
import pytest
import torch
from pydantic import Field

from convscope_sdk.errors import NotApplicable
from convscope_sdk.events import Event, Heatmap, Image, Note, Predictions, Preview, Progress, Scores, Table, Tensor
from convscope_sdk.params import Params
from convscope_sdk.run import Run
from convscope_sdk.technique import Technique, technique
from convscope_server.engine.messages import Attained, Cancel, Events, PreviewOptions, Stalled
from convscope_server.runs import events as log
from convscope_server.worker import watchdog
from support.bad_techniques import good
from support.workshop import Bench, texts


class Steps(Params):
    steps: int = Field(3, ge=1, le=10_000, description="Steps to take.")
    pause: float = Field(0.0, ge=0, le=10, description="Seconds each takes.")


@technique("count")
def count(run: Run[Steps]) -> Iterator[Event]:
    """Counts."""
    for step in range(1, run.params.steps + 1):
        time.sleep(run.params.pause)
        yield Progress(step, run.params.steps, {"half": step / 2})
    yield Scores({"counted": run.params.steps})


@technique("draw", needs={"image"})
def draw(run: Run[Params]) -> Iterator[Event]:
    """Draws one of everything."""
    yield Predictions([(3, "three", 0.5)])
    yield Heatmap("map", run.image[0, 0])
    yield Tensor("raw", torch.arange(6).reshape(2, 3))
    yield Table("rows", [{"value": np.float32(1.5), "name": "a"}])
    yield Note("seen")
    yield Note("seen")


def png(size: tuple[int, int] = (40, 32)) -> bytes:
    import io

    buffer = io.BytesIO()
    PIL.Image.effect_noise(size, 60).convert("RGB").save(buffer, "png")
    return buffer.getvalue()


def steps_of(bench: Bench, run: str) -> list[int]:
    return [e.step for e in bench.log(run) if isinstance(e, log.Progress)]


def test_a_run_is_started_reports_every_step_and_succeeds_once() -> None:
    bench = Bench(count)
    bench.start("a", "count", params={"steps": 4}, seed=7)
    bench.work()
    events = bench.log("a")
    assert isinstance(events[0], log.Started)
    assert steps_of(bench, "a") == [1, 2, 3, 4]
    end = bench.end("a")
    assert isinstance(end, log.Succeeded)
    assert end.report.scores == {"counted": 4.0}
    facts = end.report.provenance
    assert (facts["technique"], facts["package"], facts["seed"], facts["params"]) == (
        "count",
        "test-plugin",
        "7",
        {"steps": 4, "pause": 0.0},
    )
    assert str(facts["weights_digest"]).startswith("sha256:")


def test_a_state_is_nothing_that_a_log_has() -> None:
    bench = Bench(good)
    bench.start("a", "good.brightness", image=png())
    bench.work()
    assert isinstance(bench.end("a"), log.Succeeded)
    assert steps_of(bench, "a") == [1, 2, 3]


def test_results_come_in_order_with_the_input_first_and_their_digests_in_the_report() -> None:
    bench = Bench(draw)
    bench.start("a", "draw", image=png())
    bench.work()
    results = [e.artifact for e in bench.log("a") if isinstance(e, log.Result)]
    assert {(a.kind, a.name) for a in results} == {
        ("image", "input"),
        ("image", "map"),
        ("image", "overlay"),
        ("tensor", "map"),
        ("tensor", "raw"),
        ("table", "rows"),
    }
    names = [a.name for a in results]
    assert names.index("map") < names.index("raw") < names.index("rows")
    assert results[0].name == "input"
    end = bench.end("a")
    assert isinstance(end, log.Succeeded)
    assert end.report.provenance["results"] == {f"{a.kind}:{a.name}": a.digest for a in results}
    assert end.report.predictions == (log.Prediction(3, "three", 0.5),)
    assert texts(bench.log("a")) == ["seen"] == list(end.report.notes)


class Clock:
    """A performance counter that only techniques move."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> Technique[Steps]:
    """A technique whose steps take a second each, by the worker's clock."""
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", clock)

    @technique("tick")
    def tick(run: Run[Steps]) -> Iterator[Event]:
        """Ticks."""
        for step in range(1, run.params.steps + 1):
            clock.now += 1.0
            yield Progress(step, run.params.steps)

    return tick


def order_of_steps(bench: Bench) -> list[str]:
    """Whose step came when."""
    return [r.run for r in bench.reports if isinstance(r, Events) for e in r.events if isinstance(e, log.Progress)]


def test_a_short_run_never_waits_for_a_long_one(ticking: Technique[Steps]) -> None:
    bench = Bench(ticking)
    bench.start("long", "tick", params={"steps": 60})
    bench.start("short", "tick", params={"steps": 2})
    bench.work()
    order = [(r.run, e) for r in bench.reports if hasattr(r, "events") for e in r.events]
    short_end = next(i for i, (run, e) in enumerate(order) if run == "short" and log.is_terminal(e))
    steps_before = [e for run, e in order[:short_end] if run == "long" and isinstance(e, log.Progress)]
    assert len(steps_before) <= 4


def test_equal_runs_share_the_device_evenly(ticking: Technique[Steps]) -> None:
    bench = Bench(ticking)
    for run in "abc":
        bench.start(run, "tick", params={"steps": 30})
    bench.work()
    half = order_of_steps(bench)[:45]
    assert {run: half.count(run) for run in "abc"} == {"a": 15, "b": 15, "c": 15}


def test_what_a_run_takes_is_told_on_its_way_and_before_its_end(ticking: Technique[Steps]) -> None:
    bench = Bench(ticking)
    bench.start("a", "tick", params={"steps": 3})
    bench.work()
    told = [r.seconds for r in bench.reports if isinstance(r, Attained)]
    assert told == [1.0, 2.0, 3.0, 3.0]
    ends = [isinstance(r, Events) and any(map(log.is_terminal, r.events)) for r in bench.reports]
    assert not any(isinstance(r, Attained) for r in bench.reports[ends.index(True) :])


def test_runs_of_two_principals_share_evenly_however_many_each_has(ticking: Technique[Steps]) -> None:
    bench = Bench(ticking)
    for run in ("h1", "h2", "h3"):
        bench.start(run, "tick", params={"steps": 30}, owner="heavy")
    bench.start("light", "tick", params={"steps": 30}, owner="light")
    bench.work()
    half = order_of_steps(bench)[:40]
    assert half.count("light") in {19, 20, 21}
    assert {half.count(run) for run in ("h1", "h2", "h3")} <= {6, 7}


def test_cancel_takes_effect_at_the_next_step_and_runs_the_techniques_clean_up() -> None:
    closed = []

    @technique("endless")
    def endless(run: Run[Params]) -> Iterator[Event]:
        """Never ends by itself."""
        try:
            step = 0
            while True:
                step += 1
                if step == 5:
                    bench.worker.post(Cancel("a", "disconnected"))
                yield Progress(step)
        finally:
            closed.append(True)

    bench = Bench(endless)
    bench.start("a", "endless")
    bench.work()
    assert bench.end("a") == log.Cancelled("disconnected")
    assert steps_of(bench, "a")[-1] == 5
    assert closed == [True]


def test_a_cancel_that_comes_too_late_changes_nothing() -> None:
    bench = Bench(count)
    bench.start("a", "count")
    bench.worker.post(Cancel("unknown"))
    bench.work()
    assert isinstance(bench.end("a"), log.Succeeded)


def test_a_deadline_ends_a_run_at_its_next_step() -> None:
    bench = Bench(count)
    bench.start("a", "count", params={"steps": 10_000, "pause": 0.01}, deadline=time.time() + 0.2)
    bench.work()
    error = bench.error("a")
    assert (error.code, error.reason) == ("DEADLINE_EXCEEDED", "RUN_DEADLINE_EXCEEDED")
    assert 1 <= len(steps_of(bench, "a")) < 100


def test_a_refusal_reaches_the_caller_in_its_own_words() -> None:
    @technique("picky")
    def picky(run: Run[Params]) -> Iterator[Event]:
        """Refuses."""
        raise NotApplicable("no such thing here; try count", metadata={"try": "count"})
        yield

    bench = Bench(picky)
    bench.start("a", "picky")
    bench.work()
    error = bench.error("a")
    assert (error.code, error.message) == ("FAILED_PRECONDITION", "no such thing here; try count")
    assert error.metadata == {"try": "count"}


@pytest.mark.parametrize("raised", [ValueError("secret path"), SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_a_bug_fails_its_own_run_with_package_and_reference_and_without_its_text(
    raised: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    @technique("broken")
    def broken(run: Run[Params]) -> Iterator[Event]:
        """Breaks."""
        yield Progress(1)
        raise raised

    bench = Bench(broken, count)
    bench.start("a", "broken")
    bench.start("b", "count")
    bench.work()
    error = bench.error("a")
    assert (error.code, error.reason) == ("INTERNAL", "TECHNIQUE_FAILED")
    assert "broken (test-plugin 1.0)" in error.message
    assert error.metadata["reference"] in caplog.text
    assert "secret" not in error.message
    assert isinstance(bench.end("b"), log.Succeeded)


@pytest.mark.parametrize("garbage", ["a string", None, 3, object()])
def test_garbage_in_place_of_an_event_fails_the_run(garbage: object) -> None:
    @technique("garbage")
    def yields_garbage(run: Run[Params]) -> Iterator[Event]:
        """Yields no event."""
        yield garbage  # type: ignore[misc]

    bench = Bench(yields_garbage)
    bench.start("a", "garbage")
    bench.work()
    assert bench.error("a").reason == "TECHNIQUE_FAILED"


def test_a_picture_that_cannot_be_drawn_fails_the_run_even_at_its_very_end() -> None:
    @technique("nan")
    def nan(run: Run[Params]) -> Iterator[Event]:
        """Ends with a map of NaN."""
        yield Heatmap("map", torch.full((8, 8), torch.nan))

    bench = Bench(nan)
    bench.start("a", "nan")
    bench.work()
    assert bench.error("a").reason == "TECHNIQUE_FAILED"


def test_wrong_parameters_are_refused_before_the_technique_or_the_model_is_touched() -> None:
    bench = Bench(count)
    bench.start("a", "count", params={"steps": 0})
    bench.work()
    error = bench.error("a")
    assert (error.code, error.violations[0].field) == ("INVALID_ARGUMENT", "params.steps")
    assert bench.cache.users == 0


def test_an_unknown_technique_is_named_with_near_ones() -> None:
    bench = Bench(count)
    bench.start("a", "cuont")
    bench.work()
    error = bench.error("a")
    assert (error.code, error.metadata["near"]) == ("NOT_FOUND", "count")


def test_pictures_are_taken_as_they_were_when_they_were_yielded() -> None:
    @technique("painter")
    def painter(run: Run[Params]) -> Iterator[Event]:
        """Goes on writing to what it yielded."""
        canvas = torch.zeros(3, 8, 8)
        yield Preview(canvas)
        yield Image("black", canvas)
        canvas.fill_(1.0)
        yield Image("white", canvas)

    bench = Bench(painter)
    bench.start("a", "painter", previews=PreviewOptions(format="png"))
    bench.work()
    import io

    pictures = [
        np.asarray(PIL.Image.open(io.BytesIO(e.artifact.content or b"")))
        for e in bench.log("a")
        if isinstance(e, log.Preview | log.Result)
    ]
    assert [int(p.max()) for p in pictures] == [0, 0, 255]


def test_previews_keep_their_distance_and_their_size() -> None:
    @technique("film")
    def film(run: Run[Steps]) -> Iterator[Event]:
        """Shows every step."""
        for step in range(1, 41):
            time.sleep(0.005)
            yield Progress(step, 40)
            yield Preview(torch.rand(3, 100, 200))

    bench = Bench(film)
    bench.start("slow", "film", previews=PreviewOptions(min_interval=0.05, max_edge=64))
    bench.start("none", "film", previews=PreviewOptions(none=True))
    bench.work()
    shown = [e.artifact for e in bench.log("slow") if isinstance(e, log.Preview)]
    assert 2 <= len(shown) <= 20
    assert {(a.width, a.height) for a in shown} == {(64, 32)}
    assert not [e for e in bench.log("none") if isinstance(e, log.Preview)]


def test_a_step_that_takes_too_long_is_ended_and_the_next_run_works() -> None:
    bench = Bench(count, stall_seconds=0.2)
    bench.start("a", "count", params={"steps": 2, "pause": 0.8})
    bench.start("b", "count", params={"steps": 2})
    bench.work()
    assert bench.error("a").reason == "STEP_STALLED"
    assert "technique count (test-plugin 1.0)" in bench.error("a").message
    assert isinstance(bench.end("b"), log.Succeeded)
    assert not [r for r in bench.reports if isinstance(r, Stalled)]


def test_a_step_that_will_not_end_is_reported_while_it_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "_GRACE", 0.1)
    bench = Bench(count, stall_seconds=0.2)
    bench.start("a", "count", params={"steps": 1, "pause": 0.8})
    bench.work()
    assert [r.run for r in bench.reports if isinstance(r, Stalled)] == ["a"]
    assert bench.error("a").reason == "STEP_STALLED"


def test_models_are_given_back_whatever_way_a_run_ends() -> None:
    @technique("broken")
    def broken(run: Run[Params]) -> Iterator[Event]:
        """Breaks."""
        yield Progress(1)
        raise RuntimeError

    bench = Bench(count, broken)
    bench.start("a", "count")
    bench.start("b", "broken")
    bench.start("c", "count", deadline=time.time())
    bench.start("d", "count", params={"steps": -1})
    bench.work()
    assert bench.cache.users == 0


def test_random_weights_are_said_in_every_result() -> None:
    bench = Bench(count)
    from dataclasses import replace

    bench.cache.network.spec = replace(bench.cache.spec, random_weights=True)
    bench.start("a", "count")
    bench.work()
    end = bench.end("a")
    assert isinstance(end, log.Succeeded)
    assert any("random weights" in note for note in end.report.notes)
