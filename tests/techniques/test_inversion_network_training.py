from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from convscope_sdk.conformance import Subject, check_goes_on_where_it_was_put_down
from convscope_sdk.errors import InvalidImageSet, InvalidParams, NotApplicable, TechniqueError
from convscope_sdk.events import Checkpoint, ImageGrid, Preview, Progress, Table, TrainedModel
from convscope_sdk.inprocess import start
from convscope_sdk.models import ModelSpec
from convscope_sdk.network import Network
from convscope_sdk.training import CheckpointMismatch
from convscope_techniques.generators.inversion_network import InversionNetwork
from convscope_techniques.generators.inversion_network_training import (
    InversionNetworkTrainingParams,
    inversion_network_training,
)
from convscope_techniques.synthesis.latent_visualization import latent_visualization
from support import networks
from support.collected import Collected
from support.image_sets import folder_of
from support.put_down import put_down
from support.zoo import tiny

SMALL: dict[str, Any] = {
    "image_set": "mine",
    "layer": "relu3",
    "widths": (8, 6),
    "batch": 4,
    "steps": 6,
    "name": "mirror",
    "measured": 32,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of(tmp_path_factory.mktemp("pictures"))


def trained(
    folder: Path, network: Network | None = None, *, checkpoint: Checkpoint | None = None, **params: Any
) -> Collected:
    given = {**SMALL, **params}
    events = inversion_network_training.run(
        network or tiny(), image_sets={"mine": folder}, seed=1, checkpoint=checkpoint, **given
    )
    return Collected(events)


def rebuilt(model: TrainedModel) -> Network:
    """The generator as a catalog would have it."""
    module = InversionNetwork(**model.arguments)  # type: ignore[arg-type]  # plain values
    module.load_state_dict(dict(model.state_dict))
    spec = ModelSpec(
        model.name, "tests", lambda: module, kind=model.kind, code_shape=model.code_shape, codes=model.codes
    )
    return Network(module, spec)


def test_the_loss_falls_and_reconstructions_of_held_out_pictures_come_nearer(folder: Path) -> None:
    seen = trained(folder, steps=60, step_size=0.01)
    losses = [event.metrics["loss"] for event in seen.all(Progress)]
    assert np.mean(losses[-10:]) < 0.6 * np.mean(losses[:5])
    assert seen.scores["image_error_after"] < 0.6 * seen.scores["image_error_before"]
    assert seen.scores["features_error_after"] < seen.scores["features_error_before"]
    assert len(seen.one(Table, "losses").rows) == 60


def test_every_step_is_told_and_previews_show_pictures_above_what_is_made_of_their_codes(folder: Path) -> None:
    seen = trained(folder, preview_every=2)
    assert [event.step for event in seen.all(Progress)] == [1, 2, 3, 4, 5, 6]
    assert seen.all(Progress)[0].metrics.keys() == {"image", "features", "loss"}
    previews = seen.all(Preview)
    assert [torch.as_tensor(preview.image).shape for preview in previews] == [(1, 3, 64, 256)] * 3
    originals, made = torch.as_tensor(previews[-1].image)[0].split(32, dim=1)
    codes = tiny().activations(torch.stack(originals.split(32, dim=2)), "relu3")["relu3"]
    again = rebuilt(seen.all(TrainedModel)[0]).generate(codes)
    assert torch.allclose(torch.stack(made.split(32, dim=2)), again, atol=1e-4)
    assert len(seen.one(ImageGrid, "reconstructions").tiles) == 16


def test_it_leaves_a_generator_that_says_what_it_inverts_and_how_far_units_spread(folder: Path) -> None:
    (model,) = trained(folder).all(TrainedModel)
    assert (model.name, model.kind, model.architecture) == ("mirror", "generator", "convscope:inversion_network")
    assert model.code_shape == (16, 16, 16)
    assert model.codes is not None
    assert (model.codes.of_model, model.codes.layer, model.codes.rectified) == ("tiny", "relu3", True)
    sigma = rebuilt(model).code_sigma
    assert sigma.shape == (16, 16, 16)
    assert 0 < sigma.max() < 10
    assert model.facts["of_digest"] == tiny().digest


def test_what_it_leaves_can_be_searched_by_latent_visualization(folder: Path) -> None:
    generator = rebuilt(trained(folder).all(TrainedModel)[0])
    seen = Collected(
        latent_visualization.run(
            tiny(), models={"mirror": generator}, generator="mirror", target="class:3", steps=10, step_size=0.5
        )
    )
    assert seen.scores["objective_after"] > seen.scores["objective_before"]


@pytest.mark.parametrize("stopped_at", [2, 4])
def test_a_training_that_goes_on_ends_at_the_same_bits(folder: Path, stopped_at: int) -> None:
    whole = trained(folder, checkpoint_every=2, halve_every=3)
    first = trained(folder, checkpoint_every=2, halve_every=3, steps=stopped_at)
    checkpoint = first.all(Checkpoint)[-1]
    assert checkpoint.step == stopped_at
    rest = trained(folder, checkpoint_every=2, halve_every=3, resume="mirror", checkpoint=checkpoint)
    assert [event.step for event in rest.all(Progress)] == list(range(stopped_at + 1, 7))
    expected, got = (seen.all(TrainedModel)[0].state_dict for seen in (whole, rest))
    assert expected.keys() == got.keys()
    assert all(torch.equal(expected[name], got[name]) for name in expected)


@pytest.mark.parametrize("changed", [{"batch": 3}, {"layer": "relu2"}, {"feature_weight": 0.1}])
def test_a_training_does_not_go_on_with_other_settings(folder: Path, changed: dict[str, Any]) -> None:
    checkpoint = trained(folder, steps=1).all(Checkpoint)[-1]
    with pytest.raises(CheckpointMismatch, match=next(iter(changed))):
        trained(folder, checkpoint=checkpoint, **changed)


@pytest.mark.parametrize("weights", [{"image_weight": 0.0}, {"feature_weight": 0.0}])
def test_either_space_alone_will_do_but_not_neither(folder: Path, weights: dict[str, float]) -> None:
    seen = trained(folder, steps=2, **weights)
    assert len(seen.all(Progress)[0].metrics) == 2
    with pytest.raises(InvalidParams, match="weight"):
        trained(folder, image_weight=0.0, feature_weight=0.0)


def test_a_vector_is_inverted_too(folder: Path) -> None:
    (model,) = trained(folder, layer="flat", widths=(8, 6, 6, 6), steps=2).all(TrainedModel)
    assert model.code_shape == (16,)
    assert rebuilt(model).generate(torch.rand(2, 16)).shape == (2, 3, 32, 32)


def test_codes_of_a_layer_that_goes_below_zero_may_do_so(folder: Path) -> None:
    (model,) = trained(folder, layer="conv3", steps=1).all(TrainedModel)
    assert model.codes is not None
    assert not model.codes.rectified


def test_features_are_compared_at_the_layers_asked_for(folder: Path) -> None:
    assert trained(folder, comparators=("relu1", "logits"), steps=1).all(Progress)[0].metrics["features"] > 0


def test_tokens_are_no_code(folder: Path) -> None:
    with pytest.raises(NotApplicable, match="take a"):
        trained(folder, networks.network(networks.TokenNet), layer="norm")


def test_too_few_widths_are_refused_with_how_many_it_takes(folder: Path) -> None:
    with pytest.raises(InvalidParams, match="give 2"):
        trained(folder, widths=(8,))


def test_one_picture_is_too_few(tmp_path: Path) -> None:
    with pytest.raises(TechniqueError, match="two or more"):
        trained(folder_of(tmp_path, 1))


def test_the_layer_is_the_widest_at_a_sixteenth_where_none_is_named() -> None:
    params = InversionNetworkTrainingParams()
    assert params.layer is None
    assert params.image_set == "samples"


def test_it_goes_on_where_it_was_put_down() -> None:
    params = {"steps": 3, "size": 32, "batch": 2, "measured": 16, "checkpoint_every": 2, "halve_every": 2}
    check_goes_on_where_it_was_put_down(Subject(inversion_network_training, params=params))


@pytest.mark.parametrize("begins_at", [0, 2])
def test_a_training_that_is_taken_up_ends_with_the_same_weights_table_and_report(folder: Path, begins_at: int) -> None:
    begin = trained(folder, steps=begins_at, halve_every=3).all(Checkpoint)[-1] if begins_at else None
    params = {**SMALL, "halve_every": 3, "resume": "mirror" if begin else ""}
    given: dict[str, Any] = {"image_sets": {"mine": folder}, "seed": 1, "params": params}
    whole = Collected(start(inversion_network_training, tiny(), checkpoint=begin, **given))
    _, saved = put_down(inversion_network_training, tiny(), checkpoint=begin, state=3, **given)
    rest = Collected(start(inversion_network_training, tiny(), saved=saved, **given))
    assert [event.step for event in rest.all(Progress)] == list(range(begins_at + 4, 7))
    assert rest.one(Table, "losses").rows == whole.one(Table, "losses").rows
    assert rest.scores == whole.scores
    (expected,), (got,) = (seen.all(TrainedModel) for seen in (whole, rest))
    assert got.facts == expected.facts
    assert all(torch.equal(value, expected.state_dict[key]) for key, value in got.state_dict.items())


def test_a_run_told_to_take_smaller_steps_does_so_from_there_on(folder: Path) -> None:
    _, saved = put_down(inversion_network_training, tiny(), state=3, params=SMALL, image_sets={"mine": folder}, seed=1)
    losses = {}
    for step_size in (1e-3, 1e-4):
        params = {**SMALL, "step_size": step_size}
        seen = Collected(
            start(inversion_network_training, tiny(), saved=saved, params=params, image_sets={"mine": folder}, seed=1)
        )
        losses[step_size] = [row["loss"] for row in seen.one(Table, "losses").rows]
    whole = [row["loss"] for row in trained(folder).one(Table, "losses").rows]
    assert losses[1e-3] == whole
    assert losses[1e-4][:4] == whole[:4]
    assert losses[1e-4][4:] != whole[4:]


def test_a_training_is_not_taken_up_with_other_pictures(tmp_path: Path) -> None:
    given: dict[str, Any] = {"image_sets": {"mine": folder_of(tmp_path, 4)}, "params": {**SMALL, "steps": 2}}
    _, saved = put_down(inversion_network_training, tiny(), state=1, **given)
    folder_of(tmp_path, 1, start=4)
    with pytest.raises(InvalidImageSet, match="not what it was"):
        list(start(inversion_network_training, tiny(), saved=saved, **given))
