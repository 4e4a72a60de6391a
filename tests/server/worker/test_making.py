"""What a run makes for the catalog, seen from its worker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from convscope_sdk.events import Event, Progress, TrainedModel
from convscope_sdk.models import Architecture
from convscope_sdk.params import Params
from convscope_sdk.run import Run
from convscope_sdk.technique import technique
from convscope_server.engine.messages import Cancel, ListModels, ModelInfo, Offers, Reply
from convscope_server.models.registry import ModelRegistry
from convscope_server.models.shelf import Shelf
from convscope_server.models.sources.folder import FolderSource
from convscope_server.runs import events as log
from support.training_plugin import build, train
from support.workshop import Bench

ARCHITECTURES = {"school.brightness": Architecture("school.brightness", build)}


@technique("hasty")
def hasty(run: Run[Params]) -> Iterator[Event]:
    """Leaves a model without having asked for its name."""
    yield Progress(1)
    yield TrainedModel("hasty", build().state_dict(), "convscope:school.brightness", input_size=32)


def bench(directory: Path) -> Bench:
    made = Bench(train, hasty)
    shop: Any = made.worker._shop
    registry = ModelRegistry([FolderSource(directory, architectures=ARCHITECTURES)])
    shop.registry = registry
    shop.shelf = Shelf(directory, architectures=ARCHITECTURES, listed=registry.entries)
    return made


def offered(at: Bench) -> list[list[str]]:
    return [[info.name for info in report.models] for report in at.reports if isinstance(report, Offers)]


def steps_of(at: Bench, run: str) -> list[int]:
    return [e.step for e in at.log(run) if isinstance(e, log.Progress)]


def test_the_model_is_offered_before_the_run_ends_and_named_in_its_result(tmp_path: Path) -> None:
    at = bench(tmp_path)
    at.start("a", "school.train", params={"name": "mine"})
    at.work()
    assert isinstance(at.end("a"), log.Succeeded)
    assert offered(at) == [["mine"]]
    place = next(i for i, report in enumerate(at.reports) if isinstance(report, Offers))
    assert not any(isinstance(e, log.Succeeded) for r in at.reports[:place] for e in getattr(r, "events", ()))
    (result,) = (e.artifact for e in at.log("a") if isinstance(e, log.Result))
    assert (result.kind, result.name) == ("table", "model")
    assert b'"mine"' in (result.content or b"")


def test_a_taken_name_is_refused_before_the_first_step(tmp_path: Path) -> None:
    at = bench(tmp_path)
    at.start("a", "school.train", params={"name": "mine"})
    at.work()
    again = bench(tmp_path)
    again.start("b", "school.train", params={"name": "mine"})
    again.start("c", "school.train", params={"name": "mine", "overwrite": True})
    again.work()
    assert again.error("b").reason == "MODEL_NAME_TAKEN"
    assert steps_of(again, "b") == []
    assert again.cache.users == 0
    assert isinstance(again.end("c"), log.Succeeded)


def test_two_live_runs_of_one_name_do_not_meet(tmp_path: Path) -> None:
    at = bench(tmp_path)
    at.start("a", "school.train", params={"name": "mine", "overwrite": True})
    at.start("b", "school.train", params={"name": "mine", "overwrite": True})
    at.work()
    assert isinstance(at.end("a"), log.Succeeded)
    assert at.error("b").reason == "MODEL_NAME_TAKEN"


def test_a_cancelled_training_goes_on_where_it_was(tmp_path: Path) -> None:
    at = bench(tmp_path)
    keep = at.worker._send

    def cancel_at_three(report: Any) -> None:
        keep(report)
        if any(isinstance(e, log.Progress) and e.step == 3 for e in getattr(report, "events", ())):
            at.worker.post(Cancel("a"))

    at.worker._send = cancel_at_three
    at.start("a", "school.train", params={"name": "mine", "steps": 50, "checkpoint_every": 1, "pause": 0.01})
    at.work()
    assert isinstance(at.end("a"), log.Cancelled)
    assert len(steps_of(at, "a")) < 50
    rest = bench(tmp_path)
    done = rest.worker._shop.shelf.checkpoint("mine").step
    assert steps_of(at, "a")[-1] - done in (0, 1)  # it was cancelled before a step or before its checkpoint
    rest.start("b", "school.train", params={"name": "mine", "steps": done + 2, "resume": "mine"})
    rest.work()
    assert steps_of(rest, "b") == [done + 1, done + 2]
    assert offered(rest) == [["mine"]]


def test_a_run_that_starts_again_goes_on_from_its_own_checkpoint(tmp_path: Path) -> None:
    first = bench(tmp_path)
    first.start("a", "school.train", params={"name": "mine", "steps": 3})
    first.work()
    (tmp_path / "mine" / "model.toml").unlink()  # as if its worker had died before the end
    again = bench(tmp_path)
    again.start("a", "school.train", params={"name": "mine", "steps": 5}, attempt=2)
    again.work()
    assert steps_of(again, "a") == [4, 5]


def test_a_model_nobody_announced_takes_a_free_name_only(tmp_path: Path) -> None:
    at = bench(tmp_path)
    at.start("a", "hasty")
    at.work()
    assert offered(at) == [["hasty"]]
    again = bench(tmp_path)
    again.start("b", "hasty")
    again.work()
    assert again.error("b").reason == "MODEL_NAME_TAKEN"


def test_a_worker_lists_models_whatever_it_is_doing(tmp_path: Path) -> None:
    at = bench(tmp_path)
    at.worker.post(ListModels(7))
    at.worker._clerk.shutdown(wait=True)
    assert at.reports == [Offers(()), Reply(7, done=True)]
    at.worker.post(ListModels(8))  # ended: nobody is there to answer, and nobody is hurt


@pytest.mark.parametrize("missing", ["never", "mine"])
def test_resuming_what_is_not_there_names_what_is(tmp_path: Path, missing: str) -> None:
    at = bench(tmp_path)
    at.start("a", "school.train", params={"name": "x", "resume": missing})
    at.work()
    assert at.error("a").reason == "CHECKPOINT_NOT_FOUND"
    assert ModelInfo("x", "classifier", "folder") not in at.reports
