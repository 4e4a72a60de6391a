"""A training that was put down and taken up again is the training that never stopped."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from convscope_sdk.errors import InvalidParams
from convscope_sdk.events import Checkpoint, Progress, TrainedModel
from convscope_sdk.training import CheckpointMismatch
from support.networks import PlainNet, network
from support.training_plugin import train


def events_of(checkpoint: Checkpoint | None = None, seed: int = 5, **params: Any) -> list[Any]:
    return list(train.run(network(PlainNet), seed=seed, checkpoint=checkpoint, **params))


def weights_of(events: list[Any]) -> dict[str, torch.Tensor]:
    return dict(events[-1].state_dict)


def test_a_resumed_training_gives_the_same_bits() -> None:
    whole = events_of(steps=7)
    first = events_of(steps=3)
    checkpoint = next(e for e in first if isinstance(e, Checkpoint))
    torch.rand(10)  # what happens in between is of no consequence, nor is the second run's seed
    rest = events_of(checkpoint, seed=99, steps=7, resume="trained")
    assert [e.step for e in rest if isinstance(e, Progress)] == [4, 5, 6, 7]
    assert [e.metrics for e in whole if isinstance(e, Progress)][3:] == [
        e.metrics for e in rest if isinstance(e, Progress)
    ]
    assert all(torch.equal(value, weights_of(rest)[key]) for key, value in weights_of(whole).items())


def test_a_checkpoint_stays_what_it_was_while_training_goes_on() -> None:
    checkpoints = [e for e in events_of(steps=4, checkpoint_every=1) if isinstance(e, Checkpoint)]
    assert [c.step for c in checkpoints] == [1, 2, 3, 4]
    again = events_of(steps=2, checkpoint_every=1)
    for key, value in checkpoints[1].tensors.items():
        assert torch.equal(value, next(e for e in again if isinstance(e, Checkpoint) and e.step == 2).tensors[key])


def test_other_settings_are_named_and_refused() -> None:
    checkpoint = next(e for e in events_of(steps=1) if isinstance(e, Checkpoint))
    with pytest.raises(CheckpointMismatch, match="other settings: width; width was 2, now it is 3"):
        events_of(checkpoint, steps=2, resume="trained", width=3)


def test_a_damaged_checkpoint_is_refused() -> None:
    checkpoint = next(e for e in events_of(steps=1) if isinstance(e, Checkpoint))
    damaged = Checkpoint("trained", 1, {"random.cpu": checkpoint.tensors["random.cpu"]}, checkpoint.facts)
    with pytest.raises(CheckpointMismatch, match="does not fit"):
        events_of(damaged, steps=2, resume="trained")


def test_resuming_without_a_checkpoint_is_refused_before_any_work() -> None:
    with pytest.raises(InvalidParams, match="no training called 'other' at hand"):
        train.run(network(PlainNet), resume="other")


@pytest.mark.parametrize("name", ["", "../x", ".hidden", "a/b", "timm:x", "x" * 101])
def test_a_name_that_is_no_folder_is_refused(name: str) -> None:
    with pytest.raises(InvalidParams, match=r"params\.name"):
        train.run(network(PlainNet), name=name)


def test_it_ends_with_the_model() -> None:
    model = events_of(steps=1, width=3)[-1]
    assert isinstance(model, TrainedModel)
    assert (model.name, model.arguments) == ("trained", {"width": 3})
