from __future__ import annotations

import numpy as np
import pytest
import torch

from convscope_sdk.conformance import Subject, check_goes_on_where_it_was_put_down
from convscope_sdk.errors import InvalidParams
from convscope_sdk.events import Preview, Progress
from convscope_sdk.inprocess import start
from convscope_techniques.texture.image_quilting import ImageQuiltingParams, image_quilting
from convscope_techniques.texture.quilt import Quilt
from support.collected import Collected
from support.put_down import put_down
from support.zoo import tiny

NOISE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
COLUMNS, ROWS = np.meshgrid(np.arange(64), np.arange(48))
CHECKS = np.repeat((((ROWS // 4 + COLUMNS // 4) % 2) * 200 + 20)[..., None], 3, -1).astype(np.uint8)
QUICK = {"size": 64, "window": 18}


@pytest.mark.parametrize("seed", range(3))
def test_every_pixel_is_the_pixel_of_the_sample_that_it_says_it_is(seed: int) -> None:
    seen = Collected(image_quilting.run(tiny(), NOISE, seed=seed, **QUICK))
    texture, sources = seen.tensor("texture"), seen.tensor("sources")
    assert tuple(texture.shape) == (3, 96, 128)
    assert torch.equal(texture, (torch.from_numpy(NOISE).permute(2, 0, 1) / 255)[:, sources[..., 0], sources[..., 1]])


def test_a_regular_texture_is_sewn_without_a_trace() -> None:
    grey = Collected(image_quilting.run(tiny(), CHECKS, overlap=8, **QUICK)).tensor("texture")[0]
    assert torch.equal(grey[8:], grey[:-8])
    assert torch.equal(grey[:, 8:], grey[:, :-8])


def test_overlap_errors_are_mean_squares_over_the_overlap() -> None:
    sample = np.random.default_rng(2).random((20, 24, 3))
    quilt = Quilt(sample, (40, 40), 8, 3, np.random.default_rng(0))
    stream = quilt.run()
    for _ in range(len(range(0, 37, 5)) + 1):
        next(stream)
    errors = quilt._overlap_errors(5, 5)
    laid, shared = quilt._texture[5:13, 5:13], np.zeros((8, 8), dtype=bool)
    shared[:3], shared[:, :3] = True, True
    for y, x in [(0, 0), (3, 7), (12, 16)]:
        difference = np.square(sample[y : y + 8, x : x + 8] - laid)[shared]
        assert errors[y, x] == pytest.approx(difference.mean())


def test_it_streams_patch_by_patch() -> None:
    seen = Collected(image_quilting.run(tiny(), CHECKS, preview_every=5, **QUICK))
    patches = int(seen.scores["patches"])
    assert [(event.step, event.total) for event in seen.all(Progress)] == [(n + 1, patches) for n in range(patches)]
    assert len(seen.all(Preview)) == -(-patches // 5)


def test_the_overlap_is_a_sixth_of_the_patch_unless_said() -> None:
    assert ImageQuiltingParams(window=24).shared == 4
    assert ImageQuiltingParams(window=24, overlap=7).shared == 7
    with pytest.raises(InvalidParams, match="leaves nothing"):
        image_quilting.run(tiny(), CHECKS, window=8, overlap=8)


def test_a_patch_larger_than_the_sample_is_refused() -> None:
    with pytest.raises(InvalidParams, match="take less"):
        list(image_quilting.run(tiny(), CHECKS, size=64, window=50))


def test_it_goes_on_between_patches() -> None:
    check_goes_on_where_it_was_put_down(Subject(image_quilting, params={**QUICK, "grow": 1.0}))


def test_it_can_be_told_to_fit_less_well_from_here_on() -> None:
    _, saved = put_down(image_quilting, tiny(), NOISE, state=9, params=QUICK)
    steered = Collected(start(image_quilting, tiny(), NOISE, saved=saved, params={**QUICK, "error_threshold": 10.0}))
    sources, whole = (
        seen.tensor("sources") for seen in (steered, Collected(image_quilting.run(tiny(), NOISE, **QUICK)))
    )
    assert torch.equal(sources[:15], whole[:15])
    assert not torch.equal(sources[15:], whole[15:])
    assert len(steered.all(Progress)) == steered.scores["patches"] - 9
