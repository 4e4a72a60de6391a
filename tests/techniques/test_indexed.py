from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage

from convscope_sdk import Event, Params, Progress, Run, Tensor, technique
from convscope_sdk.errors import InvalidImageSet
from convscope_sdk.image_sets.catalog import ImageSets
from convscope_sdk.inprocess import start
from convscope_techniques.indexed import indexed
from support.collected import Collected
from support.image_sets import folder_of
from support.put_down import goes_on, put_down
from support.zoo import tiny


@technique("test.features", needs={"image_set"}, resumable=True)
def features(run: Run[Params]) -> Iterator[Event]:
    """Features of a set, and something random."""
    index = yield from indexed(run, run.image_set("mine"), ["conv3"], further_steps=1)
    yield Progress(len(index) + 1, len(index) + 1)
    yield Tensor("features", np.array(index.features("conv3")) + run.rng.random())


def test_a_run_can_be_put_down_once_behind_the_index(tmp_path: Path) -> None:
    assert goes_on(features, tiny(), image_sets={"mine": folder_of(tmp_path, 9)}) == 1


def test_behind_an_index_that_is_there_too(tmp_path: Path) -> None:
    sets = ImageSets({"mine": folder_of(tmp_path, 9)})
    assert len(Collected(start(features, tiny(), image_sets=sets)).all(Progress)) > 2
    assert goes_on(features, tiny(), image_sets=sets) == 1
    events, _ = put_down(features, tiny(), state=1, image_sets=sets)
    assert [(progress.step, progress.total) for progress in events.all(Progress)] == [(9, 10)]


def test_with_other_pictures_it_does_not_go_on(tmp_path: Path) -> None:
    sets = {"mine": folder_of(tmp_path, 9)}
    _, saved = put_down(features, tiny(), state=1, image_sets=sets)
    PILImage.new("RGB", (40, 40), (90, 60, 30)).save(min(tmp_path.rglob("*.png")))
    with pytest.raises(InvalidImageSet, match="'mine' is not what it was"):
        list(start(features, tiny(), saved=saved, image_sets=sets))
