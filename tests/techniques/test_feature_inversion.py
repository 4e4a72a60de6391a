from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import skimage.data
import torch
from torch import nn

from convscope_sdk.conformance import Subject, check_goes_on_where_it_was_put_down
from convscope_sdk.errors import InvalidParams, NotApplicable, UnknownName
from convscope_sdk.events import ImageGrid, Progress, Table
from convscope_sdk.inprocess import start
from convscope_techniques.synthesis.feature_inversion import (
    FeatureInversionParams,
    feature_inversion,
    variation_at,
)
from convscope_techniques.texture.extractor import vgg_layers
from support.collected import Collected
from support.put_down import put_down
from support.zoo import efficientnet, network_of, random_network, tiny

PICTURE = skimage.data.chelsea()[60:220:4, 120:300:4]
KEEP = {"fit": "keep", "size": 45}


def test_the_defaults_are_those_of_the_authors_code() -> None:
    params = FeatureInversionParams()
    assert (params.step_size, params.steps, params.alpha, params.alpha_norm, params.beta) == (0.004, 400, 6, 8e-10, 2)


def test_variation_weighs_more_the_deeper_the_layer() -> None:
    names = [info.name for info in tiny().layers]
    weights = [variation_at(tiny(), name) for name in names]
    assert weights == sorted(weights)
    assert set(weights) == {1, 10, 100}
    assert variation_at(tiny(), "input") == 0


def test_inverting_the_input_returns_the_picture() -> None:
    seen = Collected(feature_inversion.run(tiny(), PICTURE, layer="input", **KEEP))
    pixels = torch.from_numpy(PICTURE.copy()).permute(2, 0, 1) / 255
    assert seen.scores["error_input"] < 1e-4
    assert float((seen.tensor("inverted_input") - pixels).abs().max()) < 0.02


@pytest.mark.parametrize("update", ["momentum", "adam"])
def test_a_shallow_layer_gives_back_its_features(update: str) -> None:
    size = {"step_size": 16.0} if update == "adam" else {}
    seen = Collected(feature_inversion.run(tiny(), PICTURE, layer="conv1", steps=150, update=update, **size, **KEEP))
    picture = torch.from_numpy(PICTURE.copy()).permute(2, 0, 1)[None] / 255
    wanted, got = (tiny().activations(x, "conv1")["conv1"] for x in (picture, seen.tensor("inverted_conv1")[None]))
    error = float((got - wanted).square().sum() / wanted.square().sum())
    assert seen.scores["error_conv1"] == pytest.approx(error, rel=1e-3)
    assert error < 0.05


@pytest.mark.parametrize(("step_size", "far"), [(1e-9, True), (0.004, False)])
def test_a_layer_that_was_not_met_is_said_to_be_so(step_size: float, far: bool) -> None:
    seen = Collected(feature_inversion.run(tiny(), PICTURE, layer="conv3", steps=30, step_size=step_size, **KEEP))
    assert (seen.scores["error_conv3"] > 0.5) == far
    assert any("conv3 was not met" in note and "more steps" in note for note in seen.notes) == far


def test_a_step_that_leads_away_is_cut_until_it_does_not() -> None:
    seen = Collected(feature_inversion.run(tiny(), PICTURE, layer="conv3", steps=80, step_size=10.0, **KEEP))
    assert seen.scores["error_conv3"] < 0.3
    assert any("was cut to a quarter" in note for note in seen.notes)


def test_several_layers_give_a_row_and_knowledge_is_lost_with_depth() -> None:
    layers = ["input", "conv1", "conv3"]
    seen = Collected(feature_inversion.run(tiny(), PICTURE, layers=layers, steps=80, **KEEP))
    row = seen.one(ImageGrid, "inversions")
    assert [label.split(":")[0] for label in row.labels] == ["picture", *layers]
    psnr = [line["psnr"] for line in seen.one(Table, "errors").rows]
    assert psnr[0] > psnr[1] > psnr[2]
    assert [(p.step, p.total) for p in seen.all(Progress)] == [(step, 240) for step in range(1, 241)]


def test_a_row_has_a_picture_for_each_resolution_of_the_network() -> None:
    seen = Collected(feature_inversion.run(tiny(), PICTURE, row=True, steps=2, **KEEP))
    rows = seen.one(Table, "errors").rows
    assert [line["layer"] for line in rows] == ["relu1", "relu3"]
    assert all({"l2", "linf", "total_variation", "objective_error"} <= line.keys() for line in rows)


def test_layers_of_vgg_go_by_the_lectures_names() -> None:
    vgg = random_network("vgg11")
    names = ["relu1_1", "relu5_2"]
    seen = Collected(feature_inversion.run(vgg, PICTURE, layers=names, steps=1, size=32))
    assert [line["layer"] for line in seen.one(Table, "errors").rows] == [
        vgg_layers(vgg.module)[name] for name in names
    ]


def test_a_row_and_a_layer_together_are_refused() -> None:
    with pytest.raises(InvalidParams, match="one of layer, layers and row"):
        feature_inversion.run(tiny(), PICTURE, row=True, layer="conv1")


def test_a_layer_that_says_nothing_is_refused() -> None:
    conv = nn.Conv2d(3, 4, 3)
    nn.init.constant_(conv.bias, -1e6)
    network = network_of(conv=conv, relu=nn.ReLU(), pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten())
    with pytest.raises(NotApplicable, match="says nothing"):
        list(feature_inversion.run(network, PICTURE, layer="relu"))


def test_a_layer_that_is_not_there_is_refused_before_any_step() -> None:
    with pytest.raises(UnknownName, match="conv1"):
        next(iter(feature_inversion.run(tiny(), PICTURE, layers=["input", "conv11"])))


@pytest.mark.parametrize(
    "params",
    [{"step_size": 1.0}, {"row": True}, {"update": "adam", "step_size": 16.0, "beta": 1.5}],
    ids=["a step that leads away", "row", "adam"],
)
def test_it_goes_on_where_it_was_put_down(params: dict[str, Any]) -> None:
    check_goes_on_where_it_was_put_down(Subject(feature_inversion, params={"steps": 8, **params}))


def test_the_prior_may_be_made_stronger_on_the_way_and_the_layers_that_are_done_stay() -> None:
    params = {"layers": ("conv1", "conv2"), "steps": 30, "variation": 1.0, **KEEP}
    whole = Collected(feature_inversion.run(tiny(), PICTURE, **params))
    before, saved = put_down(feature_inversion, tiny(), PICTURE, state=40, params=params)
    steered = Collected(start(feature_inversion, tiny(), PICTURE, saved=saved, params={**params, "variation": 100.0}))
    assert torch.equal(before.tensor("inverted_conv1"), whole.tensor("inverted_conv1"))
    first, second = steered.all(Table)[0].rows
    assert first == whole.all(Table)[0].rows[0]
    assert second["total_variation"] < 0.9 * whole.all(Table)[0].rows[1]["total_variation"]


@pytest.mark.slow
def test_a_trained_network_knows_a_picture_well_in_its_first_blocks() -> None:
    cat = np.ascontiguousarray(skimage.data.chelsea())
    run = feature_inversion.run(efficientnet(), cat, layers=["blocks.0", "blocks.3"], steps=200, size=96)
    scores = Collected(run).scores
    assert scores["error_blocks.0"] < 0.05
    assert scores["error_blocks.3"] < 0.3
