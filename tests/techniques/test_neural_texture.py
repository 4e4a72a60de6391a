from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image as PILImage

from convscope_sdk.conformance import Subject, check_goes_on_where_it_was_put_down
from convscope_sdk.errors import InvalidParams, NotApplicable
from convscope_sdk.events import Preview, Progress, Table
from convscope_techniques.texture.neural_texture import NeuralTextureParams, neural_texture
from support.collected import Collected
from support.networks import PlainNet, network
from support.zoo import efficientnet, tiny

SAMPLE = np.array(PILImage.fromarray(skimage.data.gravel()[:128, :96]).resize((24, 32)).convert("RGB"), dtype=np.uint8)
QUICK = {"size": 32, "steps": 5}


def _run(seed: int = 0, **params: Any) -> Collected:
    return Collected(neural_texture.run(tiny(), SAMPLE, seed=seed, **{**QUICK, **params}))


def test_the_presets_values_are_the_authors() -> None:
    params = NeuralTextureParams(preset="gatys-2015")
    assert params.layers == ("relu1_1", "pool1", "pool2", "pool3", "pool4")
    assert (params.optimizer, params.history, params.steps) == ("lbfgs", 20, 2000)
    assert (params.pooling, params.histogram) == ("average", True)


def test_the_gram_loss_falls_below_a_hundredth_of_the_noises() -> None:
    seen = _run(optimizer="lbfgs", steps=80)
    assert seen.scores["gram_loss_relative"] < 0.01
    (table,) = seen.all(Table)
    assert table.rows[0]["layer"] == "input"
    assert sum(row["texture"] for row in table.rows) == pytest.approx(seen.scores["gram_loss_after"])


def test_adam_seen_from_several_places_gets_down_too() -> None:
    seen = _run(optimizer="adam", steps=80)
    assert seen.scores["gram_loss_relative"] < 0.1


@pytest.mark.parametrize(
    ("params", "shape"), [({}, (32, 24)), ({"grow": 1.5}, (48, 36)), ({"output_size": 40}, (40, 30))]
)
def test_the_texture_may_have_any_size(params: dict[str, Any], shape: tuple[int, int]) -> None:
    texture = _run(**params).tensor("texture")
    assert tuple(texture.shape) == (3, *shape)
    assert 0 <= texture.min() <= texture.max() <= 1


def test_it_is_no_copy_of_the_sample() -> None:
    seen = _run(optimizer="lbfgs", steps=60)
    sample = torch.from_numpy(SAMPLE).permute(2, 0, 1) / 255
    own, theirs = (values.flatten() - values.mean() for values in (seen.tensor("texture"), sample))
    copied = float(own @ theirs / (own.norm() * theirs.norm()))
    assert abs(copied) < 0.5


def test_histograms_are_matched_where_asked() -> None:
    seen = _run(histogram=True)
    sample = torch.from_numpy(SAMPLE).permute(2, 0, 1).flatten(1) / 255
    assert torch.allclose(seen.tensor("texture").flatten(1).sort().values, sample.sort().values, atol=1e-6)


def test_every_step_tells_the_loss_of_every_layer_and_previews_come_as_asked() -> None:
    seen = _run(layers=["conv1", "relu3"], tv_weight=0.1, steps=7, preview_every=3)
    steps = seen.all(Progress)
    assert [(event.step, event.total) for event in steps] == [(step, 7) for step in range(1, 8)]
    assert set(steps[0].metrics) == {"conv1", "relu3", "total_variation", "objective"}
    assert len(seen.all(Preview)) == 3


def test_the_convention_changes_the_weights_and_not_what_is_matched() -> None:
    relative, gatys = (
        _run(convention=convention, optimizer="lbfgs", layers=["conv1"], steps=40, weights=[1.0])
        for convention in ("relative", "gatys")
    )
    assert relative.scores["gram_loss_before"] != pytest.approx(gatys.scores["gram_loss_before"], rel=0.1)
    assert max(seen.scores["gram_loss_relative"] for seen in (relative, gatys)) < 0.02


def test_what_cannot_be_done_is_refused() -> None:
    with pytest.raises(InvalidParams, match="one for each"):
        _run(layers=["conv1"], weights=[1.0, 2.0])
    with pytest.raises(InvalidParams, match="lbfgs needs the same objective"):
        _run(optimizer="lbfgs", jitter=4)
    with pytest.raises(NotApplicable, match="no VGG"):
        _run(preset="gatys-2015")


def test_average_pooling_is_said_to_be_on() -> None:
    seen = Collected(neural_texture.run(network(PlainNet), SAMPLE, **QUICK))
    assert "2 max poolings of the network take averages" in seen.notes


@pytest.mark.parametrize(
    "params",
    [{}, {"optimizer": "adam"}, {"optimizer": "adam", "jitter": 0, "tv_weight": 1.0, "histogram": True}],
    ids=["lbfgs", "adam", "still"],
)
def test_it_goes_on_where_it_was_put_down(params: dict[str, Any]) -> None:
    check_goes_on_where_it_was_put_down(Subject(neural_texture, params={**QUICK, "steps": 11, **params}))


@pytest.mark.slow
def test_on_a_network_that_has_learned_to_see_the_loss_falls_below_a_hundredth() -> None:
    gravel = skimage.data.gravel()[:160, :160]
    seen = Collected(neural_texture.run(efficientnet(), gravel, size=64, steps=100))
    assert seen.scores["gram_loss_relative"] < 0.01
