from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from convscope_techniques.attribution.rise import RandomMasks, rise
from support.collected import Collected
from support.referee import pixels_of
from support.zoo import tiny

PICTURE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [(32, 32), (45, 60)])
def test_the_whole_map_equals_the_papers_sum_with_masks_that_opencv_enlarges(size: tuple[int, int]) -> None:
    drawn = RandomMasks.drawn(np.random.default_rng(9), 40, 7, 0.5, size)
    cell = [-(-edge // 7) for edge in size]
    for index, (grid, (top, left)) in enumerate(zip(drawn.grids.numpy(), drawn.shifts.numpy(), strict=True)):
        large = cv2.resize(grid.astype(np.float32), (8 * cell[1], 8 * cell[0]), interpolation=cv2.INTER_LINEAR)
        theirs = large[top : top + size[0], left : left + size[1]]
        ours = drawn.masks(index, index + 1, torch.device("cpu"))[0, 0].numpy()
        assert np.abs(ours - theirs).max() <= 1e-5


def test_the_map_is_the_mean_of_masks_weighted_by_the_probability_that_they_leave() -> None:
    network, samples = tiny(), 50
    pixels = pixels_of(network, PICTURE)
    drawn = RandomMasks.drawn(np.random.default_rng(3), samples, 7, 0.5, (32, 32))
    masks = drawn.masks(0, samples, torch.device("cpu"))
    with torch.no_grad():  # as the paper's code does: the normalised picture times the mask
        probability = network.module(network.normalize(pixels) * masks).softmax(1)[:, 4]
    theirs = (probability.view(-1, 1, 1, 1) * masks).sum(0)[0] / samples / 0.5
    seen = Collected(rise.run(network, PICTURE, seed=3, samples=samples, target=4, batch=7))
    assert torch.allclose(seen.tensor("rise"), theirs, rtol=1e-5)
