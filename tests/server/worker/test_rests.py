"""Runs that are kept, put down, taken up and changed between their steps, to the same bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from convscope_server.engine.between_steps import CheckParams, Steer, Suspend, Suspended, Update
from convscope_server.engine.messages import Cancel, Reply, Start
from convscope_server.runs import events as log
from convscope_server.worker import rests
from support.resting import SPEC, at_step, bench, digests, keys, report, run, steps
from support.walking import walk
from support.workshop import Bench, texts


@pytest.fixture(autouse=True)
def _keeping_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rests, "_WORTH", 0)


@pytest.fixture
def whole(tmp_path: Path) -> list[log.Event]:
    return run(bench(tmp_path / "whole", every=1e-9))


def test_a_run_is_kept_at_each_of_its_states_where_there_is_time(whole: list[log.Event]) -> None:
    assert list(keys(whole)) == list(range(1, 13))


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("step", [1, 6, 7, 12])
def test_a_run_goes_on_from_a_checkpoint_to_the_same_bits_and_the_same_report(
    tmp_path: Path, whole: list[log.Event], step: int, *, shared: bool
) -> None:
    other = bench(tmp_path / "whole", shared=shared)
    rest = run(other, replace(SPEC, checkpoint=keys(whole)[step], attempt=2))
    assert rest[0] == log.Started("cpu", 2, step)
    assert steps(rest) == list(range(step + 1, 13))
    ours, theirs = report(rest), report(whole)
    assert replace(ours, provenance={}) == replace(theirs, provenance={})
    assert {**ours.provenance, "attempt": 1} == theirs.provenance
    # What was told before is not told again.
    assert texts(rest) == [text for text in texts(whole) if text.startswith("leg") and (step <= 6 or "2" in text)]
    assert digests(rest).items() <= digests(whole).items()


def test_a_run_that_is_put_down_leaves_its_worker_and_goes_on_on_another(
    tmp_path: Path, whole: list[log.Event]
) -> None:
    first = at_step(bench(tmp_path), 4, Suspend("a"))
    told = run(first)
    assert steps(told) == [1, 2, 3, 4]
    assert not any(map(log.is_terminal, told))
    assert first.reports[-1] == Suspended("a") or Suspended("a") in first.reports
    assert first.cache.users == 0
    rest = run(bench(tmp_path), replace(SPEC, checkpoint=keys(told)[4], attempt=2))
    assert digests(told) | digests(rest) == digests(whole)
    assert report(rest).notes == report(whole).notes


def test_a_run_that_is_put_down_before_it_began_has_nothing_to_keep(tmp_path: Path) -> None:
    made = bench(tmp_path)
    made.worker.post(Start(SPEC))
    made.worker.post(Suspend("a"))
    made.work()
    assert made.log("a") == []
    assert Suspended("a") in made.reports


def test_a_cancel_that_comes_before_its_run_was_admitted_is_not_lost(tmp_path: Path) -> None:
    made = bench(tmp_path)
    made.worker.post(Start(SPEC))
    made.worker.post(Cancel("a"))
    made.work()
    assert made.log("a") == [log.Cancelled("requested")]


def test_where_no_checkpoint_can_be_kept_the_run_stays_and_the_asker_is_told(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    made = at_step(bench(blocked), 4, Suspend("a"))
    events = run(made)
    assert steps(events) == list(range(1, 13))
    assert Suspended("a", left=False) in made.reports


def test_a_disk_that_is_nearly_full_keeps_no_checkpoints_and_the_run_goes_on(
    tmp_path: Path, whole: list[log.Event]
) -> None:
    made = Bench(walk, checkpoints_dir=str(tmp_path), checkpoint_seconds=1e-9, min_free_bytes=1 << 60)
    events = run(made)
    assert not keys(events)
    assert digests(events) == digests(whole)
    assert not [file for file in tmp_path.iterdir() if file.is_file()]


@pytest.mark.parametrize("harm", ["gone", "torn", "another's", "of another version"])
def test_a_checkpoint_of_no_use_is_told_and_the_run_begins_anew(
    tmp_path: Path, whole: list[log.Event], harm: str
) -> None:
    key = keys(whole)[4]
    file = tmp_path / "whole" / key
    if harm == "gone":
        file.unlink()
    elif harm == "torn":
        file.write_bytes(file.read_bytes()[:100])
    elif harm == "another's":
        file.write_bytes(b"no safetensors")
    else:
        file.write_bytes(file.read_bytes().replace(b'\\"version\\": \\"1.0\\"', b'\\"version\\": \\"0.9\\"'))
    rest = run(bench(tmp_path / "whole"), replace(SPEC, checkpoint=key, attempt=2))
    assert steps(rest) == list(range(1, 13))
    assert [text for text in texts(rest) if "starts from the beginning" in text]
    assert digests(rest) == digests(whole)


def test_a_change_holds_from_the_next_step_on_and_is_recorded(tmp_path: Path, whole: list[log.Event]) -> None:
    made = at_step(bench(tmp_path), 8, Steer(7, "a", {"step_size": 2.0}))
    events = run(made)
    place = events.index(log.Updated(8, {"step_size": 2.0}))
    assert steps(events[:place])[-1] == 8
    assert steps(events[place:])[0] == 9
    assert Reply(7, done=True) in made.reports
    assert digests(events)["leg 1"] == digests(whole)["leg 1"]
    assert digests(events)["leg 2"] != digests(whole)["leg 2"]
    facts = report(events).provenance
    assert facts["params"] == report(whole).provenance["params"]
    assert facts["updates"] == [{"step": 8, "params": {"step_size": 2.0}}]


def test_a_run_that_was_changed_is_repeated_from_its_record(tmp_path: Path) -> None:
    changed = run(at_step(bench(tmp_path), 5, Steer(7, "a", {"step_size": 2.0}), Steer(8, "a", {"road": "right"})))
    updates = tuple(Update(u["params"], u["step"]) for u in report(changed).provenance["updates"])  # type: ignore[attr-defined]  # plain JSON
    assert [update.step for update in updates] == [5, 6]
    again = run(bench(tmp_path), replace(SPEC, updates=updates))
    assert digests(again) == digests(changed)
    assert report(again) == report(changed)


def test_changes_that_hold_from_the_beginning_are_recorded_too(tmp_path: Path) -> None:
    events = run(bench(tmp_path), replace(SPEC, updates=(Update({"step_size": 2.0}, 0),)))
    assert log.Updated(0, {"step_size": 2.0}) in events
    plain = run(bench(tmp_path), replace(SPEC, params={"step_size": 2.0}))
    assert digests(events) == digests(plain)


def test_a_changed_run_that_lost_its_worker_goes_on_as_it_was_changed(tmp_path: Path) -> None:
    update = Update({"step_size": 2.0}, 8)
    whole = run(bench(tmp_path, every=1e-9), replace(SPEC, updates=(update,)))
    for step in (7, 9):
        rest = run(bench(tmp_path), replace(SPEC, checkpoint=keys(whole)[step], updates=(update,), attempt=2))
        assert digests(whole).items() >= digests(rest).items()
        assert (log.Updated(8, update.params) in rest) == (step < 8)
        assert report(rest).provenance["updates"] == report(whole).provenance["updates"]


@pytest.mark.parametrize("params", [{"road": "up"}, {"step_size": -1.0}], ids=["by the technique", "by its schema"])
def test_a_change_that_is_refused_changes_nothing(
    tmp_path: Path, whole: list[log.Event], params: dict[str, Any]
) -> None:
    made = at_step(bench(tmp_path), 8, Steer(7, "a", params))
    events = run(made)
    [reply] = [one for one in made.reports if isinstance(one, Reply)]
    assert reply.error is not None
    assert reply.error.code == "INVALID_ARGUMENT"
    assert digests(events) == digests(whole)
    assert report(events) == report(whole)
    planned = run(bench(tmp_path), replace(SPEC, updates=(Update(params, 8),)))
    assert digests(planned) == digests(whole)
    assert any("is refused" in text for text in texts(planned))


def test_a_change_recorded_while_the_run_waited_is_refused_where_it_goes_on(
    tmp_path: Path, whole: list[log.Event]
) -> None:
    spec = replace(SPEC, checkpoint=keys(whole)[4], updates=(Update({"road": "up"}, 4),), attempt=2)
    rest = run(bench(tmp_path / "whole"), spec)
    assert steps(rest) == list(range(5, 13))
    assert any("there is no road 'up'" in text for text in texts(rest))
    assert digests(rest) == digests(whole)
    assert "updates" not in report(rest).provenance


BAD, GOOD = Update({"road": "up"}, 4), Update({"step_size": 2.0}, 4)


@pytest.mark.parametrize("updates", [(BAD, GOOD), (GOOD, BAD)])
def test_of_several_changes_at_a_step_only_the_one_at_fault_is_refused(
    tmp_path: Path, whole: list[log.Event], updates: tuple[Update, ...]
) -> None:
    good = replace(SPEC, updates=tuple(update for update in updates if update is not BAD))
    as_planned = run(bench(tmp_path), good)
    spec = replace(SPEC, updates=updates)
    for events in (
        run(bench(tmp_path), spec),
        run(bench(tmp_path / "whole"), replace(spec, checkpoint=keys(whole)[4], attempt=2)),
    ):
        assert digests(events) == digests(as_planned)
        assert any("no road 'up'" in text for text in texts(events))


def test_a_run_that_has_to_begin_anew_is_changed_where_it_was(tmp_path: Path, whole: list[log.Event]) -> None:
    spec = replace(SPEC, updates=(GOOD,))
    as_planned = run(bench(tmp_path), spec)
    file = tmp_path / "whole" / keys(whole)[9]
    file.write_bytes(file.read_bytes().replace(b'\\"legs\\"', b'\\"lags\\"'))
    events = run(bench(tmp_path / "whole"), replace(spec, checkpoint=keys(whole)[9], attempt=2))
    assert steps(events) == list(range(1, 13))
    assert digests(events) == digests(as_planned)


@pytest.mark.parametrize(("made", "second"), [(True, {"road": "right"}), (False, {})])
def test_the_last_word_counts_where_a_run_fell_back_behind_an_earlier_change(
    tmp_path: Path, *, made: bool, second: dict[str, Any]
) -> None:
    """At step 9 of an attempt that was lost, somebody changed two things; now one of them is changed at step 5."""
    earlier = Update({"step_size": 2.0, "road": "right"}, 9, made=made)
    events = run(at_step(bench(tmp_path), 5, Steer(7, "a", {"step_size": 3.0})), replace(SPEC, updates=(earlier,)))
    changes = [event for event in events if isinstance(event, log.Updated)]
    expected = second if made else earlier.params  # what was planned stays
    assert changes == [log.Updated(5, {"step_size": 3.0}), log.Updated(9, expected)]


def test_who_asks_for_a_change_of_a_run_that_ends_is_answered(tmp_path: Path) -> None:
    made = at_step(bench(tmp_path), 12, Steer(7, "a", {"step_size": 1.0}), Steer(8, "a", {"step_size": 2.0}))
    run(made)
    made.worker.post(Steer(9, "a", {"step_size": 3.0}))
    replies = {one.request: one.error for one in made.reports if isinstance(one, Reply)}
    assert replies[8] is not None
    assert replies[8].reason == "RUN_MOVED"


@pytest.mark.parametrize(("params", "code"), [({"steps": 2}, ""), ({"steps": 0}, "INVALID_ARGUMENT")])
def test_parameters_are_checked_without_a_run(tmp_path: Path, params: dict[str, Any], code: str) -> None:
    made = bench(tmp_path)
    made.worker.post(CheckParams(5, "test.walk", params))
    made.work()
    [reply] = [one for one in made.reports if isinstance(one, Reply)]
    assert (reply.error.code if reply.error else "") == code


def test_runs_that_take_turns_are_kept_each_with_its_own_random_numbers(tmp_path: Path, whole: list[log.Event]) -> None:
    made = bench(tmp_path, every=1e-9)
    for name, seed in (("a", 3), ("b", 4)):
        made.worker.post(Start(replace(SPEC, id=name, seed=seed)))
    made.work()
    assert digests(made.log("a")) == digests(whole)
    rest = run(bench(tmp_path), replace(SPEC, checkpoint=keys(made.log("a"))[3], attempt=2))
    assert digests(rest) == digests(whole)
