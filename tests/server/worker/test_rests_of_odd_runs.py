"""Runs whose state cannot be kept or taken up, and what comes while a run leaves: nobody waits in vain."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from msgspec.structs import replace
from pydantic import Field
from safetensors import SafetensorError

from convscope_sdk import Event, Params, Progress, Run, Text, technique
from convscope_server.engine.between_steps import Steer, Suspend, Suspended, Update
from convscope_server.engine.messages import Cancel, Events, Reply, Report, Start
from convscope_server.runs import events as log
from convscope_server.worker import rests
from convscope_server.worker.encoder import encoder_for
from support.resting import SPEC, at_step, bench, digests, keys, report, run, steps


@pytest.fixture(autouse=True)
def _keeping_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rests, "_WORTH", 0)


class _Odd:
    """Refuses to be kept."""

    def state_dict(self) -> dict[str, Any]:
        raise RuntimeError("odd")

    def load_state_dict(self, _state: dict[str, Any]) -> None:
        pass


def _cyclic() -> list[Any]:
    circle: list[Any] = []
    circle.append(circle)
    return circle


_UNKEEPABLE: dict[str, Callable[[], Any]] = {
    "an object": object,
    "raising": _Odd,
    "cyclic": _cyclic,
    "sparse": lambda: torch.eye(2).to_sparse(),
    "no JSON": lambda: 10**5000,
}


class HoldParams(Params):
    """Parameters of `hold`."""

    kind: str = Field("an object", description="What is held.")
    step_size: float = Field(0.1, description="Nothing.")


@technique("test.hold", resumable=True, steers={"step_size"})
def hold(run: Run[HoldParams]) -> Iterator[Event]:
    """Holds what cannot be kept."""
    with run.state("odd", value=_UNKEEPABLE[run.params.kind](), step=0) as state:
        while state.step < 6:
            state.step += 1
            yield Progress(state.step, 6)
            yield state


@pytest.mark.parametrize("kind", _UNKEEPABLE)
def test_a_state_that_cannot_be_kept_costs_nothing_and_whoever_asks_is_told(tmp_path: Path, kind: str) -> None:
    commands = (Steer(7, "a", {"step_size": 2.0}), Suspend("a"))
    made = at_step(bench(tmp_path, every=1e-9, technique=hold), 2, *commands)
    params: dict[str, Any] = {"kind": kind}
    events = run(made, replace(SPEC, technique="test.hold", params=params))
    assert steps(events) == list(range(1, 7))
    assert report(events)
    assert not keys(events)
    replies = [one for one in made.reports if isinstance(one, Reply)]
    assert [one.request for one in replies] == [7]
    assert (replies[0].error is None) == (kind == "no JSON")  # which nothing need become here
    assert Suspended("a", left=False) in made.reports


def test_a_full_disk_ends_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(bench(tmp_path))

    def full(*_: Any) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    made = at_step(bench(tmp_path, every=1e-9), 4, Suspend("a"))
    events = run(made)
    assert digests(events) == digests(whole)
    assert Suspended("a", left=False) in made.reports


def test_whoever_asks_for_a_change_is_answered_though_the_run_is_put_down_before_it_began(tmp_path: Path) -> None:
    made = bench(tmp_path)
    for command in (Start(SPEC), Steer(7, "a", {"step_size": 2.0}), Suspend("a")):
        made.worker.post(command)
    made.work()
    [reply] = [one for one in made.reports if isinstance(one, Reply)]
    assert reply.error is not None
    assert reply.error.reason == "RUN_MOVED"


def test_whoever_asks_for_a_change_of_a_run_that_is_being_closed_is_answered(tmp_path: Path) -> None:
    made = bench(tmp_path)
    late = [Steer(7, "a", {"step_size": 2.0}), Steer(8, "a", {"step_size": 3.0})]

    def send(report: Report) -> None:
        made.reports.append(report)
        if isinstance(report, Events) and any(map(log.is_terminal, report.events)):
            made.worker.post(late.pop())

    made.worker._send = send
    forget = made.worker._forget
    made.worker._forget = lambda job: (made.worker.post(late.pop()), forget(job))[1]  # type: ignore[method-assign]  # the test's in its place
    made.worker.post(Start(SPEC))
    made.work()
    assert sorted(one.request for one in made.reports if isinstance(one, Reply)) == [7, 8]


def test_a_cancel_that_comes_while_its_run_leaves_is_for_the_next_attempt(tmp_path: Path) -> None:
    made = at_step(bench(tmp_path), 4, Suspend("a"))
    react = made.reports.append

    def send(report: Report) -> None:
        react(report)
        if report == Suspended("a"):
            made.worker.post(Start(replace(SPEC, attempt=2)))
            made.worker.post(Cancel("a"))

    made.worker._send = send
    assert run(made)[-1] == log.Cancelled("requested")


@technique("test.brittle", resumable=True, steers={"step_size"})
def brittle(run: Run[HoldParams]) -> Iterator[Event]:
    """Breaks where a parameter is too large."""
    if run.params.step_size > 1:
        raise ZeroDivisionError
    with run.state("there", step=0) as state:
        while state.step < 6:
            state.step += 1
            yield Progress(state.step, 6)
            yield state


def test_a_change_that_breaks_the_technique_is_refused_and_the_run_goes_on(tmp_path: Path) -> None:
    made = at_step(bench(tmp_path, technique=brittle), 2, Steer(7, "a", {"step_size": 2.0}))
    events = run(made, replace(SPEC, technique="test.brittle"))
    assert steps(events) == list(range(1, 7))
    assert "updates" not in report(events).provenance
    [reply] = [one for one in made.reports if isinstance(one, Reply)]
    assert reply.error is not None
    assert "ZeroDivisionError" in reply.error.message


@technique("test.still", resumable=True)
def still(run: Run[HoldParams]) -> Iterator[Event]:
    """Yields its state and nothing else."""
    with run.state("there", step=0) as state:
        while True:
            state.step += 1
            if state.step > 1000:
                raise AssertionError("nobody was asked between")
            yield state


def test_a_technique_that_yields_states_alone_is_cancelled_between_two(tmp_path: Path) -> None:
    made = bench(tmp_path, technique=still)
    made.worker.post(Start(replace(SPEC, technique="test.still")))
    turns = 0
    turn = made.worker._turn

    def counted(*arguments: Any) -> None:
        nonlocal turns
        turns += 1
        if turns == 5:
            made.worker.post(Cancel("a"))
        turn(*arguments)

    made.worker._turn = counted  # type: ignore[method-assign]  # the test's in its place
    made.work()
    assert made.end("a") == log.Cancelled("requested")


@technique("test.forgetful", resumable=True, steers={"step_size"})
def forgetful(run: Run[HoldParams]) -> Iterator[Event]:
    """Opens another state each time."""
    sizes: list[float] = []
    with run.state(f"attempt {next(_ATTEMPTS)}", step=0) as state:
        while state.step < 6:
            state.step += 1
            sizes.append(run.params.step_size)
            yield Progress(state.step, 6)
            yield state
    yield Text("sizes", str(sizes))


_ATTEMPTS = itertools.count()


def test_a_run_that_has_to_begin_anew_begins_with_its_first_parameters(tmp_path: Path) -> None:
    update = Update({"step_size": 2.0}, 3)
    spec = replace(SPEC, technique="test.forgetful")
    told = run(bench(tmp_path, technique=forgetful, every=1e-9), spec)
    again = run(bench(tmp_path, technique=forgetful), replace(spec, checkpoint=keys(told)[5], updates=(update,)))
    sizes = [event.artifact.content for event in again if isinstance(event, log.Result)]
    assert digests(again).keys() == {"sizes"}
    assert sizes == [str([0.1] * 6).encode()]
    assert "updates" not in report(again).provenance


def test_a_change_is_in_the_log_before_whoever_asked_for_it_hears_of_it(tmp_path: Path) -> None:
    made = bench(tmp_path)
    made.worker._encoder = encoder_for("cuda")
    made.worker._encoder.submit(time.sleep, 0.2)
    for command in (Start(SPEC), Steer(7, "a", {"step_size": 2.0})):
        made.worker.post(command)
    made.work()
    place = next(i for i, one in enumerate(made.reports) if isinstance(one, Reply))
    updated = log.Updated(1, {"step_size": 2.0})
    assert updated in [event for one in made.reports[:place] if isinstance(one, Events) for event in one.events]


@technique("test.second", resumable=True)
def second(run: Run[HoldParams]) -> Iterator[Event]:
    """Looks into a second network."""
    bias = float(run.model("other").module[0].bias.sum())
    with run.state("sum", value=0.0, step=0) as state:
        while state.step < 4:
            state.value += bias
            state.step += 1
            yield Progress(state.step, 4)
            yield state
    yield Text("sum", str(state.value))


@pytest.mark.parametrize("changed", [False, True])
def test_a_run_goes_on_only_where_all_its_models_are_the_same(tmp_path: Path, *, changed: bool) -> None:
    spec = replace(SPEC, technique="test.second")
    told = run(bench(tmp_path, technique=second, every=1e-9), spec)
    other = bench(tmp_path, technique=second)
    if changed:
        with torch.no_grad():
            other.cache.other.module[0].bias.add_(1)
    again = run(other, replace(spec, checkpoint=keys(told)[2], attempt=2))
    assert steps(again) == ([1, 2, 3, 4] if changed else [3, 4])
    assert other.cache.users == 0


def test_who_is_to_leave_while_a_checkpoint_fails_does_not_leave_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = bench(tmp_path, every=1e-9)
    made.worker._encoder = encoder_for("cuda")
    suspends, keep = [Suspend("a")], rests.Rests._keep

    def full(*_: Any) -> None:
        raise OSError

    def kept(self: rests.Rests, *arguments: Any, **options: Any) -> bool:
        well = keep(self, *arguments, **options)
        while suspends:
            made.worker.post(suspends.pop())
        return well

    monkeypatch.setattr("safetensors.torch.save_file", full)
    monkeypatch.setattr(rests.Rests, "_keep", kept)
    assert report(run(made))
    assert [one for one in made.reports if isinstance(one, Suspended)] == [Suspended("a", left=False)]
