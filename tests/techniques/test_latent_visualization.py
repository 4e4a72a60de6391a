from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from convscope_sdk.conformance import Subject, check_goes_on_where_it_was_put_down
from convscope_sdk.errors import InvalidParams, NotApplicable, UnknownName
from convscope_sdk.events import ImageGrid, Predictions, Preview, Progress
from convscope_sdk.inprocess import start
from convscope_sdk.network import Network
from convscope_techniques.synthesis.latent_visualization import LatentVisualizationParams, latent_visualization
from support.collected import Collected
from support.fickle import fickle
from support.painters import generator, identity, inverter
from support.put_down import put_down
from support.zoo import tiny

PICTURE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)


def collected(network: Network, painter: Network | None = None, image: object = None, **params: Any) -> Collected:
    models = {"painter": painter or inverter()}
    given = {"steps": 6, "step_size": 0.5, "step_unit": "code", **params}
    return Collected(latent_visualization.run(network, image, models=models, generator="painter", **given))


def test_the_preset_is_that_of_the_authors_scripts_and_the_default_only_steps_less() -> None:
    params, gentle = LatentVisualizationParams(preset="nguyen-2016"), LatentVisualizationParams()
    assert (params.steps, params.step_size, params.step_unit, params.final_step_size) == (200, 8, "code", 1e-10)
    assert (params.decay, params.bound, params.noise) == (0.01, 3, 0)
    same = {"steps", "final_step_size", "decay", "bound", "noise"}
    assert gentle.model_dump(include=same) == params.model_dump(include=same)


@pytest.mark.parametrize("target", ["class:3", "3-1", "conv3:4", "conv3:4@2,5", "conv2"])
def test_the_objective_rises_for_every_kind_of_target(target: str) -> None:
    seen = collected(tiny(), target=target, steps=12)
    assert seen.scores["objective_after"] > seen.scores["objective_before"]
    assert 0 <= seen.tensor("latent_visualization").min() <= seen.tensor("latent_visualization").max() <= 1
    assert [p.step for p in seen.all(Progress)] == list(range(1, 13))
    assert len(seen.all(Preview)) == 3


def test_the_code_is_within_its_bounds_and_makes_the_picture() -> None:
    seen = collected(tiny(), target="class:3", step_size=20.0)
    code, sigma = seen.tensor("code"), inverter().code_sigma
    assert bool(((code >= 0) & (code <= 3 * sigma)).all())
    assert 0 < seen.scores["code_at_bound"] < 1
    assert seen.scores["code_farthest"] <= 3
    assert torch.allclose(inverter().generate(code)[0], seen.tensor("latent_visualization"), atol=1e-6)


def test_steps_in_deviations_are_those_in_the_codes_numbers_times_their_mean() -> None:
    mean = float(inverter().code_sigma.mean())
    in_deviations = collected(tiny(), target="class:3", step_size=0.5, step_unit="sigma").tensor("code")
    in_numbers = collected(tiny(), target="class:3", step_size=0.5 * mean).tensor("code")
    assert torch.allclose(in_deviations, in_numbers, atol=1e-6)


def test_whether_the_class_won_is_what_the_network_says_to_the_picture() -> None:
    seen = collected(fickle(), identity(), target=2, steps=40, step_size=0.05, bound=1.0, start="noise", seed=1)
    logits = fickle().logits(seen.tensor("latent_visualization")[None])[0]
    assert seen.scores["target_probability"] == pytest.approx(float(logits.softmax(0)[2]), rel=1e-4)
    assert seen.scores["target_won"] == float(logits.argmax() == 2) == 1
    assert seen.all(Predictions)[0].items[0][0] == int(logits.argmax())


def test_through_the_identity_it_is_normalised_ascent_on_the_pixels() -> None:
    image = torch.from_numpy(PICTURE).permute(2, 0, 1)[None] / 255
    seen = collected(tiny(), identity(), target="class:3", start="zero", steps=2, step_size=0.02, decay=0.0, bound=1e3)
    code = torch.zeros_like(image)
    for rate in (0.02, 0.01):
        leaf = code.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(tiny().logits(leaf)[0, 3], leaf)
        code = (code + rate * gradient / gradient.abs().mean()).clamp(min=0)
    assert torch.allclose(seen.tensor("code"), code, atol=1e-6)


def test_several_samples_are_as_different_as_the_report_says() -> None:
    seen = collected(tiny(), target="class:3", samples=3)
    pixels = seen.tensor("latent_visualization")
    assert pixels.shape == (3, 3, 32, 32)
    assert seen.one(ImageGrid, "latent_visualization").labels == ["sample 1", "sample 2", "sample 3"]
    pairs = [float((pixels[a] - pixels[b]).abs().mean()) for a, b in ((0, 1), (0, 2), (1, 2))]
    assert seen.scores["diversity"] == pytest.approx(sum(pairs) / 3, rel=1e-4)
    assert seen.scores["diversity"] > 0
    won = (tiny().logits(pixels).argmax(1) == 3).float().mean()
    assert seen.scores["target_won"] == pytest.approx(float(won))


def test_a_sample_in_a_batch_is_the_one_that_is_made_alone() -> None:
    both = collected(tiny(), target="class:3", samples=2, start="noise", seed=4).tensor("code")
    alone = collected(tiny(), target="class:3", samples=1, start="noise", seed=4).tensor("code")
    assert torch.allclose(both[:1], alone, atol=1e-4)


def test_a_picture_to_begin_with_is_turned_into_its_code() -> None:
    seen = collected(tiny(), image=PICTURE, fit="keep", target="class:3", steps=1, step_size=1e-9, decay=0.0, bound=1e3)
    pixels = torch.from_numpy(PICTURE).permute(2, 0, 1)[None] / 255
    assert torch.allclose(seen.tensor("code"), tiny().activations(pixels, "relu3")["relu3"], atol=1e-4)


def test_a_picture_has_no_code_where_nobody_says_whose_layer_the_generator_inverts() -> None:
    with pytest.raises(NotApplicable, match="use start=noise"):
        collected(tiny(), identity(), image=PICTURE)


def test_a_start_from_a_picture_that_is_not_there_is_refused() -> None:
    with pytest.raises(InvalidParams, match="give one"):
        collected(tiny(), start="image")


def test_codes_that_may_be_negative_are_kept_within_bounds_on_both_sides() -> None:
    from convscope_sdk.models import CodeFacts

    painter = generator(inverter().module, (16, 16, 16), CodeFacts(sigma="sigma", rectified=False))
    code = collected(tiny(), painter, step_size=20.0).tensor("code")
    assert float(code.min()) < 0
    assert bool((code.abs() <= 3 * inverter().code_sigma).all())


def test_a_generator_that_is_not_there_is_refused_with_near_names() -> None:
    with pytest.raises(UnknownName) as refusal:
        list(latent_visualization.run(tiny(), models={"painter": inverter()}, generator="painters"))
    assert "painter" in refusal.value.metadata["near"]


def test_a_classifier_is_no_generator() -> None:
    with pytest.raises(NotApplicable, match="kind generator"):
        collected(tiny(), tiny())


@pytest.mark.parametrize("params", [{}, {"samples": 2, "noise": 0.2}, {"preset": "nguyen-2016"}])
def test_it_goes_on_where_it_was_put_down(params: dict[str, Any]) -> None:
    check_goes_on_where_it_was_put_down(Subject(latent_visualization, params={"steps": 7, **params}))


def test_it_turns_to_another_class_from_the_same_code() -> None:
    params = {"generator": "painter", "target": 2, "steps": 30, "step_size": 0.3, "final_step_size": 0.3}
    options: dict[str, Any] = {"models": {"painter": inverter()}, "seed": 1}
    _, saved = put_down(latent_visualization, tiny(), state=10, params=params, **options)
    other = {**params, "target": 5}
    steered = Collected(start(latent_visualization, tiny(), saved=saved, params=other, **options))
    scores = [-progress.metrics["target"] for progress in steered.all(Progress)]
    assert len(scores) == 20
    assert scores[-1] > scores[0]
