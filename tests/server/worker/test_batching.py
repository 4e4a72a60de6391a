"""Runs of one technique, model and parameters that go through the network as one batch, each with its own log."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from PIL import Image

from convscope_sdk import Event, ImageParams, Network, Note, Progress, Run, Tensor, technique, together
from convscope_server.runs import events as log
from convscope_server.worker.batching import default_batch
from support.workshop import Bench

SIZES: list[int] = []


def logits_of(network: Network, pixels: torch.Tensor, *, size: int | None) -> tuple[torch.Tensor]:
    SIZES.append(len(pixels))
    return (network.logits(pixels),)


def few_at_a_time(network: Network, pixels: torch.Tensor) -> tuple[torch.Tensor]:
    SIZES.append(len(pixels))
    if len(pixels) > 1:
        raise MemoryError("out of memory")
    return (network.logits(pixels),)


def dirty(network: Network, pixels: torch.Tensor) -> tuple[torch.Tensor]:
    network.module.train()
    return (network.logits(pixels),)


def dicing(network: Network, pixels: torch.Tensor) -> tuple[torch.Tensor]:
    return (network.logits(pixels) + torch.rand(1),)


@technique("asks", needs={"image"}, batchable=True)
def asks(run: Run[ImageParams]) -> Iterator[Event]:
    """The logits, asked for together, between two random numbers."""
    yield Progress(1, 2)
    before = torch.rand(1)
    (logits,) = yield from together(logits_of, run.network, run.image, size=run.params.size)
    yield Progress(2, 2)
    yield Tensor("logits", logits)
    yield Tensor("random", torch.cat([before, torch.rand(1)]))


@technique("asks_alone", needs={"image"})
def asks_alone(run: Run[ImageParams]) -> Iterator[Event]:
    """The same without leave to batch it."""
    (logits,) = yield from together(logits_of, run.network, run.image, size=0)
    yield Tensor("logits", logits)


@technique("large", needs={"image"}, batchable=True)
def large(run: Run[ImageParams]) -> Iterator[Event]:
    """Too much for a batch."""
    (logits,) = yield from together(few_at_a_time, run.network, run.image)
    yield Tensor("logits", logits)


@technique("leaks", needs={"image"}, batchable=True)
def leaks(run: Run[ImageParams]) -> Iterator[Event]:
    """Leaves the network in training mode."""
    (logits,) = yield from together(dirty, run.network, run.image)
    yield Note("never")
    yield Tensor("logits", logits)


@technique("dices", needs={"image"}, batchable=True)
def dices(run: Run[ImageParams]) -> Iterator[Event]:
    """Draws random numbers where it should not, and where it may."""
    yield from together(dicing, run.network, run.image)
    yield Tensor("random", torch.rand(3))


TECHNIQUES = (asks, asks_alone, large, leaks, dices)


@pytest.fixture(autouse=True)
def no_sizes() -> None:
    SIZES.clear()


def picture(seed: int) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, format="png")
    return buffer.getvalue()


def bench(*runs: str, identifier: str = "asks", max_batch: int = 8) -> Bench:
    house = Bench(*TECHNIQUES, max_batch=max_batch)
    for number, run in enumerate(runs):
        house.start(run, identifier, image=picture(number), seed=number)
    return house


def tensors(house: Bench, run: str) -> dict[str, np.ndarray]:  # type: ignore[type-arg]  # of any type
    found = [event.artifact for event in house.log(run) if isinstance(event, log.Result)]
    return {a.name: np.load(io.BytesIO(a.content or b"")) for a in found if a.kind == "tensor"}


def report(house: Bench, run: str) -> log.Report:
    end = house.end(run)
    assert isinstance(end, log.Succeeded), end
    return end.report


def test_runs_that_wait_go_through_as_one_batch_and_each_has_its_own_results() -> None:
    house, single = bench(*"abcde"), bench(*"abcde", max_batch=1)
    house.work()
    assert SIZES == [5]
    single.work()
    assert SIZES == [5, 1, 1, 1, 1, 1]
    for run in "abcde":
        ours, alone = tensors(house, run), tensors(single, run)
        np.testing.assert_allclose(ours["logits"], alone["logits"], atol=1e-6)
        np.testing.assert_array_equal(ours["random"], alone["random"])
        assert report(house, run).provenance["batch"] == 5
        assert "batch" not in report(single, run).provenance
        kinds = [type(event).__name__ for event in house.log(run)]
        assert kinds == [type(event).__name__ for event in single.log(run)]
    assert len({tensors(house, run)["logits"].tobytes() for run in "abcde"}) == 5


def test_no_batch_is_larger_than_the_setting() -> None:
    house = bench(*"abcde", max_batch=2)
    house.work()
    assert sorted(SIZES) == [1, 2, 2]


def test_on_a_cpu_nothing_is_batched_unless_the_settings_say_so() -> None:
    assert (default_batch("cpu"), default_batch("cuda:0"), default_batch("mps")) == (1, 8, 8)
    bench(*"abc", max_batch=0).work()
    assert SIZES == [1, 1, 1]


def test_runs_with_other_parameters_have_batches_of_their_own() -> None:
    house = bench(*"ab")
    for number, run in enumerate("xy"):
        house.start(run, "asks", image=picture(number), params={"size": 24})
    house.work()
    assert SIZES == [2, 2]


def test_a_technique_that_does_not_declare_it_is_never_batched() -> None:
    house = bench(*"ab", identifier="asks_alone")
    house.work()
    assert SIZES == [1, 1]
    assert set(tensors(house, "a")) == {"logits"}


def test_a_cancelled_run_leaves_its_batch_and_nobody_else_notices() -> None:
    house = bench(*"abc")
    house.worker._take_commands(wait=False)
    house.worker._jobs["b"].cancel_reason = "requested"
    house.work()
    assert SIZES == [2]
    assert isinstance(house.end("b"), log.Cancelled)
    assert report(house, "a").provenance["batch"] == report(house, "c").provenance["batch"] == 2


def test_what_cannot_be_done_for_many_is_done_for_each() -> None:
    house = bench(*"abc", identifier="large")
    house.work()
    assert SIZES == [3, 1, 1, 1]
    assert all("batch" not in report(house, run).provenance for run in "abc")


def test_a_pass_that_leaves_traces_fails_all_who_shared_it_and_no_other() -> None:
    house = bench(*"ab", identifier="leaks")
    house.start("good", "asks", image=picture(9))
    house.work()
    assert {house.error(run).reason for run in "ab"} == {"TECHNIQUE_LEAKED"}
    assert report(house, "good").provenance["seed"] == "0"
    assert not house.cache.network.module.training
    assert house.cache.users == 0


def test_random_numbers_of_a_shared_pass_are_nobodys() -> None:
    house, other = bench(*"abc", identifier="dices"), bench("a", "b", identifier="dices")
    house.work()
    other.work()
    np.testing.assert_array_equal(tensors(house, "a")["random"], tensors(other, "a")["random"])
