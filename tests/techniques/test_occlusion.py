from __future__ import annotations

import numpy as np
import pytest
import torch

from convscope_sdk.errors import InvalidParams
from convscope_sdk.events import Heatmap, Preview, Progress
from convscope_techniques.attribution.occlusion import occlusion
from support.collected import Collected
from support.zoo import tiny

PICTURE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
FITTED = {"fit": "keep", "size": 60}


@pytest.mark.parametrize("batch", [1, 3, 1000])
def test_the_result_does_not_depend_on_the_batch(batch: int) -> None:
    expected = Collected(occlusion.run(tiny(), PICTURE, window=8, stride=5, **FITTED))
    seen = Collected(occlusion.run(tiny(), PICTURE, window=8, stride=5, batch=batch, **FITTED))
    for name in ("occlusion", "attribution", "probability_map"):
        assert torch.allclose(seen.tensor(name), expected.tensor(name), atol=1e-6)


def test_the_probability_map_has_one_value_for_each_position_of_the_window() -> None:
    seen = Collected(occlusion.run(tiny(), PICTURE, window=16, stride=12, target=2, **FITTED))
    probability = seen.tensor("probability_map")
    assert tuple(probability.shape) == (3, 5)
    pixels = torch.from_numpy(PICTURE).permute(2, 0, 1)[None] / 255
    pixels[:, :, 24:40, 12:28] = 0.5
    assert torch.allclose(probability[2, 1], tiny().logits(pixels).softmax(1)[0, 2], atol=1e-6)


def test_either_map_can_be_drawn_and_both_are_always_kept() -> None:
    drop = Collected(occlusion.run(tiny(), PICTURE, window=16, output="attribution", **FITTED))
    left = Collected(occlusion.run(tiny(), PICTURE, window=16, output="probability_map", **FITTED))
    assert torch.equal(drop.tensor("attribution"), left.tensor("attribution"))
    assert torch.equal(drop.tensor("occlusion"), drop.tensor("attribution"))
    assert left.tensor("occlusion").shape == drop.tensor("occlusion").shape == (40, 60)
    assert drop.one(Heatmap, "occlusion").signed
    assert not left.one(Heatmap, "occlusion").signed
    assert 0 <= left.tensor("occlusion").min() <= left.tensor("occlusion").max() <= 1


def test_the_map_is_seen_filling_batch_by_batch() -> None:
    seen = Collected(occlusion.run(tiny(), PICTURE, window=16, stride=12, batch=4, **FITTED))
    assert [(p.step, p.total) for p in seen.all(Progress)] == [(4, 15), (8, 15), (12, 15), (15, 15)]
    filled = [int(torch.as_tensor(p.image).count_nonzero()) for p in seen.all(Preview)]
    assert filled == sorted(filled)
    assert torch.equal(torch.as_tensor(seen.all(Preview)[-1].image), seen.tensor("occlusion"))


def test_a_unit_inside_the_network_can_be_explained_but_has_no_probability() -> None:
    seen = Collected(occlusion.run(tiny(), PICTURE, window=16, target="conv2:3", **FITTED))
    assert seen.tensor("attribution").isfinite().all()
    with pytest.raises(InvalidParams, match="has no probability"):
        list(occlusion.run(tiny(), PICTURE, target="conv2:3", output="probability_map", window=16, **FITTED))


def test_a_window_that_hides_everything_is_refused_with_one_that_works() -> None:
    with pytest.raises(InvalidParams, match="window=10, stride=5"):
        list(occlusion.run(tiny(), PICTURE, window=60, **FITTED))


def test_a_stride_that_leaves_gaps_is_refused() -> None:
    with pytest.raises(InvalidParams, match="stride 17 leaves pixels uncovered"):
        occlusion.run(tiny(), PICTURE, window=16, stride=17)
