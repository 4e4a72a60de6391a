"""A training that was put down and taken up again is the training that never stopped."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from convscope_sdk.errors import InvalidParams
from convscope_sdk.events import Checkpoint, Progress, TrainedModel
from convscope_sdk.inprocess import start
from convscope_sdk.training import CheckpointMismatch
from support.networks import PlainNet, network
from support.put_down import put_down
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


def test_a_checkpoint_can_be_gone_on_from_twice() -> None:
    checkpoint = next(e for e in events_of(steps=2) if isinstance(e, Checkpoint))
    one, other = (events_of(checkpoint, steps=5, resume="trained") for _ in range(2))
    assert [e.metrics for e in one if isinstance(e, Progress)] == [e.metrics for e in other if isinstance(e, Progress)]


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


def test_a_training_that_is_put_down_and_taken_up_gives_the_same_bits() -> None:
    whole = events_of(steps=5, checkpoint_every=2)
    first, saved = put_down(train, network(PlainNet), seed=5, state=3, params={"steps": 5, "checkpoint_every": 2})
    rest = list(start(train, network(PlainNet), seed=5, saved=saved, params={"steps": 5, "checkpoint_every": 2}))
    assert [e.step for e in rest if isinstance(e, Progress)] == [4, 5]
    assert [e.metrics for e in [*first.events, *rest] if isinstance(e, Progress)] == [
        e.metrics for e in whole if isinstance(e, Progress)
    ]
    assert all(torch.equal(value, weights_of(rest)[key]) for key, value in weights_of(whole).items())
    checkpoints = [e for e in [*first.events, *rest] if isinstance(e, Checkpoint)]
    assert [c.step for c in checkpoints] == [2, 4, 5]
    ends = [events_of(c, steps=5, resume="trained") for c in checkpoints]  # what is kept beside the model is whole too
    assert all(torch.equal(value, weights_of(end)[key]) for key, value in weights_of(whole).items() for end in ends)


def test_what_a_run_began_with_does_not_count_where_it_is_taken_up() -> None:
    begun_with = next(e for e in events_of(steps=1) if isinstance(e, Checkpoint))
    other = next(e for e in events_of(steps=9, seed=6, width=3) if isinstance(e, Checkpoint))
    params = {"steps": 5, "resume": "trained"}
    _, saved = put_down(train, network(PlainNet), seed=5, checkpoint=begun_with, state=2, params=params)
    for checkpoint in (begun_with, other, None):
        rest = list(start(train, network(PlainNet), seed=5, saved=saved, checkpoint=checkpoint, params=params))
        assert [e.step for e in rest if isinstance(e, Progress)] == [4, 5]
        assert all(torch.equal(value, weights_of(rest)[key]) for key, value in weights_of(events_of(steps=5)).items())


def test_a_run_can_be_told_to_train_for_longer() -> None:
    _, saved = put_down(train, network(PlainNet), seed=5, state=2, params={"steps": 3})
    rest = list(start(train, network(PlainNet), seed=5, saved=saved, params={"steps": 7}))
    assert all(torch.equal(value, weights_of(rest)[key]) for key, value in weights_of(events_of(steps=7)).items())
