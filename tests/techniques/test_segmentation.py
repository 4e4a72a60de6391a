from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import skimage.data
import torch
from torch import nn

from convscope_sdk.conformance import Subject, check_goes_on_where_it_was_put_down
from convscope_sdk.errors import InvalidParams, NotApplicable
from convscope_sdk.events import Image, Preview, Progress, Table
from convscope_sdk.inprocess import start
from convscope_techniques.segmentation.segmentation import largest_component, seeds_of, segmentation
from support.collected import Collected, array
from support.put_down import put_down
from support.zoo import lens, tiny

COFFEE = skimage.data.coffee()


class Red(nn.Module):
    """Class 1 scores by how red a picture is, pixel by pixel."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        red = (x[:, 0] - x[:, 1] - x[:, 2]).relu().square().mean((1, 2))
        return torch.stack([torch.zeros_like(red), red], 1)


def _disc() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    y, x = np.mgrid[:64, :64]
    disc = (y - 30) ** 2 + (x - 34) ** 2 < 200
    picture = np.where(disc[..., None], [220, 30, 30], [40, 120, 60]) + np.random.default_rng(0).normal(
        0, 8, (64, 64, 3)
    )
    return picture.clip(0, 255).astype(np.uint8), disc


def test_the_defaults_are_the_papers() -> None:
    params = segmentation.params()
    assert params.model_dump(include={"average", "foreground", "background", "k", "gamma", "steps"}) == {
        "average": "crops",
        "foreground": 0.95,
        "background": 0.3,
        "k": 5,
        "gamma": 50.0,
        "steps": 5,
    }


def test_what_the_score_depends_on_is_cut_out() -> None:
    picture, disc = _disc()
    seen = Collected(
        segmentation.run(
            lens(Red(), size=64), picture, fit="resize", target=1, extra_images={"mask": disc * 255.0 / 255}
        )
    )
    assert seen.scores["mask_iou"] > 0.98
    assert seen.scores["mask_fraction"] == pytest.approx(disc.mean(), abs=0.01)
    mask = seen.tensor("mask").bool().numpy()
    assert (mask & disc).sum() / (mask | disc).sum() == pytest.approx(seen.scores["mask_iou"])


def test_the_cut_out_shows_the_object_on_white_and_the_seeds_what_models_were_made_of() -> None:
    picture, disc = _disc()
    seen = Collected(segmentation.run(lens(Red(), size=64), picture, fit="resize", target=1))
    mask = seen.tensor("mask").bool()
    cut_out = torch.as_tensor(seen.one(Image, "cut_out").image)[0]
    pixels = torch.from_numpy(picture).permute(2, 0, 1) / 255
    assert torch.equal(cut_out[:, mask], pixels[:, mask])
    assert (cut_out[:, ~mask] == 1).all()
    seeds = torch.as_tensor(seen.one(Image, "seeds").image)[0]
    blue = (seeds[2] > seeds[1] + 0.2) & (seeds[2] > seeds[0])
    assert 0 < float(blue.float().mean()) <= 0.051
    assert disc[blue.numpy()].all()


def test_each_cut_is_previewed_and_reported_with_its_energy() -> None:
    seen = Collected(segmentation.run(tiny(), COFFEE, size=64, steps=3, seeds="fixed"))
    rows = seen.one(Table, "energy").rows
    energies = [row["energy"] for row in rows]
    assert len(rows) == 4
    assert energies[1:] == sorted(energies[1:], reverse=True)
    assert (seen.scores["energy_first"], seen.scores["energy_last"]) == (energies[0], energies[-1])
    progress = seen.all(Progress)
    assert [p.metrics["energy"] for p in progress if p.metrics] == energies
    assert progress[-1].step == progress[-1].total == 10 + 4
    assert len([preview for preview in seen.all(Preview) if not preview.heatmap]) == 4


@pytest.mark.parametrize("params", [{}, {"average": "noise", "samples": 300, "seeds": "fixed"}], ids=["crops", "noise"])
def test_it_goes_on_between_passes_and_between_cuts(params: dict[str, Any]) -> None:
    check_goes_on_where_it_was_put_down(Subject(segmentation, params={"size": 64, "steps": 4, **params}))


def test_it_can_be_told_to_cut_more_often_from_here_on() -> None:
    seen, saved = put_down(segmentation, tiny(), COFFEE, state=12, params={"size": 64, "steps": 3})
    assert [len(seen.all(Progress)), seen.all(Progress)[-1].total] == [12, 14]
    longer, whole = (
        Collected(start(segmentation, tiny(), COFFEE, params={"size": 64, "steps": 5}, **options)).one(Table, "energy")
        for options in ({"saved": saved}, {})
    )
    assert longer == whole
    assert len(whole.rows) == 6


def test_seeds_lie_beyond_the_quantiles() -> None:
    values = torch.arange(1000.0).view(20, 50)
    above, below = (array(part) for part in seeds_of(values, 0.95, 0.3))
    assert above.sum() == 50
    assert below.sum() == 300
    assert values.numpy()[above].min() > values.numpy()[~above].max()


def test_mostly_equal_saliency_still_has_seeds_where_it_differs() -> None:
    values = torch.zeros(20, 20)
    values[3, 4] = 1
    above, below = seeds_of(values, 0.9999, 0.3)
    assert above.sum() == 1
    assert below.sum() == 399


def test_a_score_that_depends_on_nothing_is_refused() -> None:
    class Deaf(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (0 * x).mean((2, 3))

    with pytest.raises(NotApplicable, match="tells no object from a background; take"):
        list(segmentation.run(lens(Deaf(), size=32), COFFEE))


def test_quantiles_the_wrong_way_round_are_refused() -> None:
    with pytest.raises(InvalidParams, match="has to be below"):
        segmentation.params.parse({"background": 0.9, "foreground": 0.5})


def test_the_largest_component_hangs_together_by_corners_too() -> None:
    labels = np.zeros((6, 6), dtype=np.bool_)
    labels[0, 0] = labels[1, 1] = labels[2, 2] = labels[4, 0] = labels[4, 5] = labels[5, 5] = True
    found = largest_component(labels)
    assert found.sum() == 3
    assert found[0, 0]
    assert not largest_component(np.zeros((3, 3), dtype=np.bool_)).any()
