from __future__ import annotations

import numpy as np
import pytest
import torch

from convscope_sdk.conformance import Subject, check_goes_on_where_it_was_put_down
from convscope_sdk.errors import InvalidParams
from convscope_sdk.events import Preview, Progress
from convscope_sdk.inprocess import start
from convscope_techniques.texture.texture_synthesis import TextureSynthesisParams, texture_synthesis
from support.collected import Collected
from support.put_down import put_down
from support.zoo import tiny

NOISE = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
COLUMNS, ROWS = np.meshgrid(np.arange(32), np.arange(24))
CHECKS = np.repeat((((ROWS // 4 + COLUMNS // 4) % 2) * 200 + 20)[..., None], 3, -1).astype(np.uint8)
QUICK = {"size": 32, "window": 7, "grow": 1.25, "preview_every": 100}


def _pixels(picture: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(picture).permute(2, 0, 1) / 255


def test_the_defaults_are_those_of_the_paper() -> None:
    params = TextureSynthesisParams()
    assert (params.error_threshold, params.max_error, params.size, params.grow) == (0.1, 0.3, 64, 2)


@pytest.mark.parametrize("seed", range(3))
def test_every_pixel_is_the_pixel_of_the_sample_that_it_says_it_is(seed: int) -> None:
    seen = Collected(texture_synthesis.run(tiny(), NOISE, seed=seed, **QUICK))
    texture, sources = seen.tensor("texture"), seen.tensor("sources")
    assert tuple(texture.shape) == (3, 30, 40)
    assert tuple(sources.shape) == (30, 40, 2)
    assert torch.equal(texture, _pixels(NOISE)[:, sources[..., 0], sources[..., 1]])


def test_a_regular_texture_goes_on_regularly() -> None:
    seen = Collected(texture_synthesis.run(tiny(), CHECKS, **{**QUICK, "window": 11}))
    grey = seen.tensor("texture")[0]
    assert torch.equal(grey[8:], grey[:-8])
    assert torch.equal(grey[:, 8:], grey[:, :-8])
    assert seen.scores["largest_error"] == 0


def test_it_streams_the_growing_picture_pixel_by_pixel_to_the_end() -> None:
    seen = Collected(texture_synthesis.run(tiny(), CHECKS, **QUICK))
    progress = seen.all(Progress)
    assert [event.step for event in progress] == [*range(109, 1200, 100), 1200]
    assert {event.total for event in progress} == {30 * 40}
    grey = [float((torch.as_tensor(preview.image) == 0.5).float().mean()) for preview in seen.all(Preview)]
    assert grey == sorted(grey, reverse=True)
    assert grey[0] > 0.8
    assert grey[-1] == 0


def test_nothing_within_the_allowed_error_raises_it_until_something_is() -> None:
    seen = Collected(texture_synthesis.run(tiny(), NOISE, **{**QUICK, "max_error": 0.03}))
    assert seen.scores["max_error"] > seen.scores["largest_error"] > 0.03
    assert any("rose to" in note for note in seen.notes)


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"window": 25}, "params.window"),
        ({"window": 8}, "params.window"),
        ({"size": 600, "window": 23}, "params.size"),
        ({"grow": 16, "size": 1000, "window": 3}, "params.grow"),
    ],
)
def test_what_cannot_be_done_is_refused_with_what_can(params: dict[str, int], field: str) -> None:
    with pytest.raises(InvalidParams, match="take") as refusal:
        list(texture_synthesis.run(tiny(), NOISE, **{**QUICK, **params}))
    assert [violation.field for violation in refusal.value.violations] == [field]


def test_the_texture_may_be_asked_for_by_its_longer_edge() -> None:
    seen = Collected(texture_synthesis.run(tiny(), CHECKS, size=32, window=5, output_size=20))
    assert tuple(seen.tensor("texture").shape) == (3, 15, 20)


@pytest.mark.parametrize("params", [{}, {"max_error": 0.03}], ids=["well", "with nothing that matches at first"])
def test_it_goes_on_in_the_middle_of_a_pass(params: dict[str, float]) -> None:
    given = {**QUICK, "grow": 0.5, "preview_every": 7, **params}
    check_goes_on_where_it_was_put_down(Subject(texture_synthesis, params=given))


def test_it_can_be_told_to_match_less_well_from_here_on() -> None:
    _, saved = put_down(texture_synthesis, tiny(), NOISE, state=3, params=QUICK)
    as_it_was, steered = (
        Collected(start(texture_synthesis, tiny(), NOISE, saved=saved, params={**QUICK, **params})).tensor("sources")
        for params in ({"preview_every": 9}, {"error_threshold": 10.0})
    )
    whole = Collected(texture_synthesis.run(tiny(), NOISE, **QUICK)).tensor("sources")
    assert torch.equal(as_it_was, whole)
    assert 300 <= int((steered == whole).all(-1).sum()) < 1000
