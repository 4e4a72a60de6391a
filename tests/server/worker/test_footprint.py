"""What a run takes of its device, by a reading that the test makes up."""

from __future__ import annotations

import pytest
import torch

from convscope_server.worker.footprint import Footprint, Gauge


class MadeUp(Gauge):
    """A gauge of a process that holds what the test says."""

    resident = 1000

    def __init__(self) -> None:
        super().__init__("cpu")

    def _resident(self) -> int:
        return self.resident


def test_what_a_turn_adds_and_leaves_is_the_runs() -> None:
    gauge, run = MadeUp(), Footprint()
    with gauge.measuring(run):
        gauge.resident = 1500
        gauge.held()  # the watchdog looks
        gauge.resident = 1100
    assert (run.held, run.peak) == (100, 500)
    with gauge.measuring(run):
        gauge.resident = 1700
        gauge.held()
        gauge.resident = 1050
    assert (run.held, run.most_held, run.peak) == (50, 100, 100 + 600)


def test_what_others_take_between_its_turns_is_not() -> None:
    gauge, run, other = MadeUp(), Footprint(), Footprint()
    for _ in range(3):
        with gauge.measuring(run):
            gauge.resident += 10
        with gauge.measuring(other):
            gauge.resident += 1000
    assert (run.held, run.peak) == (30, 30)
    assert (other.held, other.peak) == (3000, 3000)


def test_what_was_seen_before_a_turn_is_not_its_own() -> None:
    gauge, run = MadeUp(), Footprint()
    gauge.resident = 9000
    gauge.held()
    gauge.resident = 1000
    with gauge.measuring(run):
        gauge.resident = 1001
    assert run.peak == 1


def test_a_turn_that_gives_back_memory_of_others_leaves_nothing_below_zero() -> None:
    gauge, run = MadeUp(), Footprint()
    with gauge.measuring(run):
        gauge.resident = 10
    assert (run.held, run.peak) == (0, 0)


@pytest.mark.gpu
def test_on_a_gpu_the_allocator_counts_every_byte() -> None:
    torch.cuda.init()
    gauge, run = Gauge("cuda:0"), Footprint()
    with gauge.measuring(run):
        kept = torch.empty(64 << 20, dtype=torch.uint8, device="cuda:0")
        passing = torch.empty(256 << 20, dtype=torch.uint8, device="cuda:0")
        del passing
    assert len(kept) == 64 << 20
    assert (run.held, run.peak) == (64 << 20, 320 << 20)
