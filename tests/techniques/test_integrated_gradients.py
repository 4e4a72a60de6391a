from __future__ import annotations

import numpy as np
import pytest
import skimage.data
import torch
from torch import nn

from convscope_sdk.events import Preview, Progress
from convscope_sdk.network import Network
from convscope_techniques.attribution.integrated_gradients import integrated_gradients, nodes
from support.collected import Collected
from support.zoo import efficientnet, network_of, random_network, tiny

PICTURE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)


def test_the_nodes_integrate_polynomials_exactly() -> None:
    places, weights = nodes(5)
    for degree in range(10):
        assert float((weights * places**degree).sum()) == pytest.approx(1 / (degree + 1), rel=1e-12)


def test_of_a_linear_network_it_is_weight_times_difference_in_one_step() -> None:
    network = network_of(flat=nn.Flatten(), fc=nn.Linear(3 * 32 * 32, 4))
    seen = Collected(integrated_gradients.run(network, PICTURE, fit="resize", target=1, steps=1))
    pixels = torch.from_numpy(PICTURE).permute(2, 0, 1) / 255
    std = torch.tensor(network.spec.std).view(3, 1, 1)
    expected = network.module.fc.weight[1].view(3, 32, 32) / std * pixels
    assert torch.allclose(seen.tensor("attribution"), expected, rtol=1e-4, atol=1e-7)
    assert seen.scores["completeness_gap"] < 1e-4


@pytest.mark.parametrize("baseline", ["black", "grey", "mean", "blur"])
def test_at_fifty_steps_the_attributions_add_up_to_the_scores_difference(baseline: str) -> None:
    for network, size in ((tiny(), 32), (random_network("resnet18"), 64)):
        seen = Collected(
            integrated_gradients.run(network, skimage.data.chelsea(), size=size, baseline=baseline, tolerance=1)
        )
        assert seen.scores["steps"] == 50
        assert seen.scores["completeness_gap"] <= 0.01
        assert not [note for note in seen.notes if "take more steps" in note]


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_the_result_does_not_depend_on_the_batch(batch: int) -> None:
    expected = Collected(integrated_gradients.run(tiny(), PICTURE, steps=10, tolerance=1)).tensor("attribution")
    seen = Collected(integrated_gradients.run(tiny(), PICTURE, steps=10, tolerance=1, batch=batch))
    assert torch.allclose(seen.tensor("attribution"), expected, atol=1e-6)
    assert seen.all(Progress)[-1].step == seen.all(Progress)[-1].total == 10
    assert torch.allclose(torch.as_tensor(seen.all(Preview)[-1].image), seen.tensor("integrated_gradients"))


def test_what_is_as_in_the_baseline_gets_nothing() -> None:
    picture = PICTURE.copy()
    picture[:16] = 0
    seen = Collected(integrated_gradients.run(tiny(), picture, fit="resize", steps=4))
    assert not seen.tensor("attribution")[:, :16].any()
    assert seen.tensor("attribution")[:, 16:].any()


def test_a_picture_that_is_the_baseline_has_no_difference_to_attribute() -> None:
    seen = Collected(integrated_gradients.run(tiny(), np.zeros_like(PICTURE), steps=2))
    assert not seen.tensor("attribution").any()
    assert "completeness_gap" not in seen.scores
    assert any("no difference to attribute" in note for note in seen.notes)


def test_a_gap_of_more_than_a_hundredth_is_said() -> None:
    network = network_of(flat=nn.Flatten(), fc=nn.Linear(3 * 32 * 32, 1), bend=nn.Softplus(beta=50))
    with torch.no_grad():
        network.module.fc.weight.fill_(1 / (3 * 32 * 32))
        network.module.fc.bias.fill_(network.spec.mean[1])  # bends near the middle of the path
    seen = Collected(integrated_gradients.run(network, PICTURE, steps=1, tolerance=1))
    assert seen.scores["completeness_gap"] > 0.01
    assert any("take more steps" in note for note in seen.notes)


def _bent() -> Network:
    """A network whose gradient along the path jumps in one place: n places miss the jump by about 1/n."""
    network = network_of(flat=nn.Flatten(), fc=nn.Linear(3 * 32 * 32, 1), bend=nn.ReLU())
    with torch.no_grad():
        network.module.fc.weight.fill_(1 / (3 * 32 * 32))
        network.module.fc.bias.fill_(1.3)
    return network


def test_steps_are_doubled_until_the_attributions_add_up() -> None:
    seen = Collected(integrated_gradients.run(_bent(), PICTURE, steps=3))
    steps = int(seen.scores["steps"])
    assert steps in {6, 12, 24}
    assert seen.scores["completeness_gap"] <= 0.01
    exactly = Collected(integrated_gradients.run(_bent(), PICTURE, steps=steps, tolerance=1))
    assert torch.equal(seen.tensor("attribution"), exactly.tensor("attribution"))
    fewer = Collected(integrated_gradients.run(_bent(), PICTURE, steps=steps // 2, tolerance=1))
    assert fewer.scores["completeness_gap"] > 0.01


def test_progress_reaches_its_end_however_many_rounds_it_takes() -> None:
    for tolerance in (1, 0.5, 1e-9):
        progress = Collected(integrated_gradients.run(_bent(), PICTURE, steps=3, tolerance=tolerance)).all(Progress)
        assert progress[-1].step == progress[-1].total == (3 if tolerance == 1 else 3 + 6 + 12 + 24)
        assert len({step.total for step in progress}) == 1


def test_the_most_steps_are_eight_times_those_asked_for() -> None:
    seen = Collected(integrated_gradients.run(_bent(), PICTURE, steps=3, tolerance=1e-9))
    assert seen.scores["steps"] == 24
    assert any("take more steps" in note for note in seen.notes)


@pytest.mark.slow
def test_of_a_real_photograph_the_attributions_add_up_to_a_hundredth() -> None:
    seen = Collected(integrated_gradients.run(efficientnet(), skimage.data.coffee(), size=128))
    assert seen.scores["completeness_gap"] <= 0.01
