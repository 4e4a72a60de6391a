"""Teaching a style: what is learned, kept, and gone on with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch

from convscope_sdk.conformance import Subject, check_goes_on_where_it_was_put_down
from convscope_sdk.errors import InvalidImage, InvalidImageSet
from convscope_sdk.events import Checkpoint, Image, Preview, Progress, Table, TrainedModel
from convscope_sdk.inprocess import start
from convscope_sdk.models import ModelSpec
from convscope_sdk.network import Network
from convscope_sdk.training import CheckpointMismatch
from convscope_techniques.texture.fast_style_training import fast_style_training
from convscope_techniques.texture.fast_style_transfer import fast_style_transfer
from convscope_techniques.texture.style_net import StyleNet
from support.collected import Collected
from support.networks import PlainNet, network
from support.put_down import put_down

STRIPES = np.kron(np.tile([[[220, 40, 30], [20, 60, 200]]], (16, 8, 1)), np.ones((1, 4, 1))).astype(np.uint8)
QUICK: dict[str, Any] = {
    "width": 4,
    "blocks": 1,
    "size": 32,
    "batch": 2,
    "style_size": 32,
    "image_set": "pictures",
    "preview_every": 2,
    "learning_rate": 3e-3,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(4):
        values = np.random.default_rng(number).integers(0, 256, (5, 6, 3), dtype=np.uint8)
        PIL.Image.fromarray(values).resize((60, 50), PIL.Image.Resampling.BICUBIC).save(tmp_path / f"{number}.png")
    return tmp_path


def collect(folder: Path, *, seed: int = 1, checkpoint: Checkpoint | None = None, **params: Any) -> Collected:
    return Collected(
        fast_style_training.run(
            network(PlainNet),
            extra_images={"style": STRIPES},
            image_sets={"pictures": folder},
            seed=seed,
            checkpoint=checkpoint,
            **{**QUICK, **params},
        )
    )


def test_losses_fall_and_the_model_paints_as_the_result_shows(folder: Path) -> None:
    seen = collect(folder, steps=60)
    losses = [sum(p.metrics.values()) for p in seen.all(Progress)]
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:5])
    assert seen.scores["held_out_style_loss"] < seen.scores["held_out_style_loss_before"]
    assert len(list(seen.all(Preview))) == 30
    (model,) = seen.all(TrainedModel)
    module = StyleNet(**model.arguments)
    module.load_state_dict(dict(model.state_dict))
    spec = ModelSpec("taught", "tests", lambda: module, kind=model.kind, mean=model.mean, std=model.std)
    images = {event.name: event.image for event in seen.all(Image)}
    content = (images["content"][0] * 255).round().byte().permute(1, 2, 0).numpy()
    again = Collected(fast_style_transfer.run(Network(module, spec), content, size=max(content.shape)))
    assert torch.allclose(again.tensor("stylized"), images["stylized"][0], atol=1e-3)


def test_a_resumed_training_is_the_same_to_the_bit(folder: Path) -> None:
    whole = collect(folder, steps=5, checkpoint_every=3)
    checkpoint = next(iter(whole.all(Checkpoint)))
    assert checkpoint.step == 3
    rest = collect(folder, steps=5, seed=77, checkpoint=checkpoint, resume="trained")
    assert [p.step for p in rest.all(Progress)] == [4, 5]
    (first,), (second,) = (list(seen.all(TrainedModel)) for seen in (whole, rest))
    assert all(torch.equal(value, second.state_dict[key]) for key, value in first.state_dict.items())
    assert first.facts["steps"] == second.facts["steps"] == 5


@pytest.mark.parametrize("change", [{"width": 8}, {"style_weight": 1.0}, {"size": 48}])
def test_other_settings_are_not_gone_on_with(folder: Path, change: dict[str, Any]) -> None:
    checkpoint = next(iter(collect(folder, steps=1).all(Checkpoint)))
    with pytest.raises(CheckpointMismatch, match=next(iter(change))):
        collect(folder, steps=2, checkpoint=checkpoint, resume="trained", **change)


def test_half_precision_halves_the_model(folder: Path) -> None:
    (model,) = collect(folder, steps=1, half=True).all(TrainedModel)
    assert {value.dtype for value in model.state_dict.values()} == {torch.float16}


def test_the_network_that_judges_is_left_alone(folder: Path) -> None:
    judge = network(PlainNet)
    before = {key: value.clone() for key, value in judge.module.state_dict().items()}
    list(
        fast_style_training.run(
            judge, extra_images={"style": STRIPES}, image_sets={"pictures": folder}, steps=2, **QUICK
        )
    )
    assert all(torch.equal(value, before[key]) for key, value in judge.module.state_dict().items())
    assert all(parameter.grad is None for parameter in judge.module.parameters())


def test_without_a_style_or_anything_to_learn_from_it_is_refused(folder: Path) -> None:
    sets = {"pictures": folder}
    with pytest.raises(InvalidImage, match="extra image `style`"):
        list(fast_style_training.run(network(PlainNet), image_sets=sets, **QUICK))
    with pytest.raises(InvalidImageSet, match="no picture to learn from"):
        collect(folder, held_out=["0", "1", "2", "3"])


def test_the_picture_that_is_held_out_is_the_one_that_is_shown(folder: Path) -> None:
    images = {event.name: event.image for event in collect(folder, steps=1, held_out=["1"]).all(Image)}
    wanted = np.asarray(PIL.Image.open(folder / "1.png"))
    assert np.array_equal((images["content"][0] * 255).round().byte().permute(1, 2, 0).numpy(), wanted)


def test_it_goes_on_where_it_was_put_down(folder: Path) -> None:
    params = {key: value for key, value in QUICK.items() if key != "image_set"}
    check_goes_on_where_it_was_put_down(Subject(fast_style_training, params={**params, "checkpoint_every": 2}))


@pytest.mark.parametrize("state", [1, 4])
def test_a_training_that_is_taken_up_ends_with_the_same_weights_table_and_report(folder: Path, state: int) -> None:
    given: dict[str, Any] = {"extra_images": {"style": STRIPES}, "image_sets": {"pictures": folder}, "seed": 1}
    params = {**QUICK, "steps": 5, "checkpoint_every": 2}
    _, saved = put_down(fast_style_training, network(PlainNet), state=state, params=params, **given)
    whole = collect(folder, steps=5, checkpoint_every=2)
    rest = Collected(start(fast_style_training, network(PlainNet), saved=saved, params=params, **given))
    assert len(rest.all(Progress)) == 5 - state
    assert rest.one(Table, "losses").rows == whole.one(Table, "losses").rows
    assert rest.scores == whole.scores
    (expected,), (got,) = (seen.all(TrainedModel) for seen in (whole, rest))
    assert got.facts == expected.facts
    assert all(torch.equal(value, expected.state_dict[key]) for key, value in got.state_dict.items())


def test_a_run_told_to_end_earlier_leaves_what_it_has_with_a_checkpoint(folder: Path) -> None:
    given: dict[str, Any] = {"extra_images": {"style": STRIPES}, "image_sets": {"pictures": folder}, "seed": 1}
    _, saved = put_down(fast_style_training, network(PlainNet), state=3, params={**QUICK, "steps": 9}, **given)
    rest = Collected(start(fast_style_training, network(PlainNet), saved=saved, params={**QUICK, "steps": 1}, **given))
    assert rest.all(Progress) == []
    assert [checkpoint.step for checkpoint in rest.all(Checkpoint)] == [3]
    assert rest.all(TrainedModel)[0].facts["steps"] == 3
