"""A run that asks for more models than the one it looks into."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from convscope_sdk.events import Event, Progress, Tensor
from convscope_sdk.network import Network
from convscope_sdk.params import Params
from convscope_sdk.run import Run
from convscope_sdk.technique import technique
from convscope_server.engine.messages import Cancel, Models, Stalled
from convscope_server.runs import events as log
from convscope_server.worker.borrowed import BorrowedModels
from support.workshop import Bench


@technique("both")
def both(run: Run[Params]) -> Iterator[Event]:
    """What two networks answer to one picture."""
    for step, name in enumerate(("other", "tiny", "other"), 1):
        yield Tensor(name + str(step), run.model(name).logits(torch.full((1, 3, 32, 32), 0.5)))


def test_a_run_gets_another_model_and_the_report_names_its_digest() -> None:
    bench = Bench(both)
    bench.start("a", "both")
    bench.work()
    end = bench.end("a")
    assert isinstance(end, log.Succeeded)
    assert end.report.provenance["other_models"] == {"other": bench.cache.other.digest}
    assert end.report.provenance["weights_digest"] == bench.cache.network.digest
    assert bench.cache.users == 0


def test_the_catalogs_list_of_loaded_models_is_told_while_the_run_has_two() -> None:
    bench = Bench(both)
    bench.start("a", "both")
    bench.work()
    told = [report.models[0].users for report in bench.reports if isinstance(report, Models)]
    assert told == [0, 1, 2, 0]


def test_a_model_that_is_not_there_fails_the_run_with_near_names() -> None:
    @technique("typo")
    def typo(run: Run[Params]) -> Iterator[Event]:
        """Asks for a model by a wrong name."""
        run.model("othr")
        yield Progress(1)

    bench = Bench(typo)
    bench.start("a", "typo")
    bench.work()
    error = bench.error("a")
    assert (error.code, error.reason, error.metadata["near"]) == ("NOT_FOUND", "MODEL_NOT_FOUND", "other")
    assert bench.cache.users == 0


@pytest.mark.parametrize("ending", ["cancel", "bug", "deadline"])
def test_all_models_are_given_back_however_the_run_ends(ending: str) -> None:
    @technique("holder")
    def holder(run: Run[Params]) -> Iterator[Event]:
        """Never ends by itself."""
        run.model("other")
        step = 0
        while True:
            step += 1
            if step == 3 and ending == "cancel":
                bench.worker.post(Cancel("a"))
            if step == 3 and ending == "bug":
                raise RuntimeError
            yield Progress(step)

    bench = Bench(holder)
    bench.start("a", "holder", deadline=time.time() + 0.1 if ending == "deadline" else None)
    bench.work()
    assert not isinstance(bench.end("a"), log.Succeeded)
    assert bench.cache.users == 0


def test_a_trace_left_on_another_model_is_told_and_undone() -> None:
    @technique("scribbler")
    def scribbler(run: Run[Params]) -> Iterator[Event]:
        """Writes to a network that is not its own."""
        with torch.no_grad():
            next(run.model("other").module.parameters()).mul_(2)
        yield Progress(1)

    bench = Bench(scribbler, both)
    before = bench.cache.other.module.state_dict()["0.weight"].clone()
    bench.start("a", "scribbler")
    bench.work()
    assert bench.error("a").metadata["leaks"] == "parameter values"
    assert torch.equal(bench.cache.other.module.state_dict()["0.weight"], before)


def test_the_time_that_a_load_takes_is_not_the_techniques() -> None:
    @technique("patient")
    def patient(run: Run[Params]) -> Iterator[Event]:
        """Asks for a model that is slow to load."""
        run.model("other")
        yield Progress(1)

    bench = Bench(patient, stall_seconds=0.3)
    acquire = bench.cache.acquire

    def slowly(name: str) -> Network:
        time.sleep(0.9 if name == "other" else 0)
        return acquire(name)

    bench.cache.acquire = slowly  # type: ignore[method-assign]
    bench.start("a", "patient")
    bench.work()
    assert isinstance(bench.end("a"), log.Succeeded)
    assert not [report for report in bench.reports if isinstance(report, Stalled)]


def test_a_model_asked_for_within_inference_mode_can_still_be_differentiated_through() -> None:
    bench = Bench()
    loaded: list[nn.Parameter] = []

    def acquire(name: str) -> Network:
        loaded.append(nn.Parameter(torch.ones(3)))
        return bench.cache.acquire(name)

    models = BorrowedModels(acquire, bench.cache.release, lambda _: None)
    with torch.inference_mode():
        assert models.open("tiny") is models.open("tiny") is bench.cache.network
    assert [tensor.is_inference() for tensor in loaded] == [False]
    models.give_back()
    assert bench.cache.users == 0


def test_a_technique_that_keeps_its_run_gets_no_model_when_the_run_has_ended() -> None:
    bench = Bench()
    models = BorrowedModels(bench.cache.acquire, bench.cache.release, lambda _: None)
    models.open("tiny")
    models.give_back()
    models.give_back()
    with pytest.raises(RuntimeError, match="has ended"):
        models.open("tiny")
    assert bench.cache.users == 0
