from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from convscope_sdk.conformance import Subject, check_goes_on_where_it_was_put_down
from convscope_sdk.events import Preview, Progress
from convscope_sdk.inprocess import start
from convscope_techniques.synthesis.pgd import PgdParams, pgd
from support.collected import Collected
from support.fickle import fickle
from support.put_down import put_down

PICTURE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
PIXELS = torch.from_numpy(PICTURE).permute(2, 0, 1)[None] / 255
RUNNER_UP = int(fickle().logits(PIXELS)[0].topk(2).indices[1])


def attacked(seed: int = 0, **params: Any) -> Collected:
    return Collected(pgd.run(fickle(), PICTURE, fit="resize", seed=seed, **params))


def test_the_defaults_are_those_of_torchattacks() -> None:
    params = PgdParams()
    assert (params.steps, params.random_start, params.bounds()) == (10, True, [8 / 255])
    assert PgdParams(norm="l2").bounds() == [1.0]


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_it_stays_within_the_bound_as_computed_and_as_saved(norm: str) -> None:
    seen = attacked(norm=norm, epsilon=0.05, step_size=0.04)
    change = seen.tensor("adversarial") - PIXELS[0]
    assert float(change.norm() if norm == "l2" else change.abs().max()) <= 0.05 + 1e-6
    assert seen.scores[norm] <= 0.05 + 1e-5


def test_more_steps_do_more_than_one_of_the_same_reach() -> None:
    many = attacked(epsilon=0.1, steps=20, target=RUNNER_UP).scores["target_probability_after"]
    one = attacked(epsilon=0.1, steps=1, step_size=0.1, random_start=False, target=RUNNER_UP).scores
    assert many > one["target_probability_after"] > one["target_probability_before"]


def test_a_random_start_follows_the_seed() -> None:
    runs = [attacked(seed, steps=1, step_size=1e-6).tensor("adversarial") for seed in (1, 1, 2)]
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])
    fixed = [attacked(seed, steps=1, random_start=False).tensor("adversarial") for seed in (1, 2)]
    assert torch.equal(*fixed)


def test_progress_counts_the_steps_of_all_bounds() -> None:
    seen = attacked(sweep=[1e-4, 2e-4], steps=4, preview_every=2)
    assert [(p.step, p.total) for p in seen.all(Progress)] == [(step, 8) for step in range(1, 9)]
    assert len(seen.all(Preview)) == 4


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_it_goes_on_where_it_was_put_down_in_whichever_bound(norm: str) -> None:
    params = {"norm": norm, "sweep": (1e-4, 2e-4, 3e-4), "steps": 4, "preview_every": 3}
    check_goes_on_where_it_was_put_down(Subject(pgd, params=params))


def test_steps_may_become_smaller_on_the_way() -> None:
    params = {"epsilon": 0.1, "steps": 8, "step_size": 0.05}
    before, saved = put_down(pgd, fickle(), PICTURE, state=5, params=params)
    after = Collected(start(pgd, fickle(), PICTURE, saved=saved, params={**params, "step_size": 1e-3}))
    shown = [torch.as_tensor(seen.all(Preview)[at].image) for seen, at in ((before, -1), (after, 0))]
    assert float((shown[1] - shown[0]).abs().max()) == pytest.approx(1e-3, rel=1e-3)
    assert len(after.all(Progress)) == 3
