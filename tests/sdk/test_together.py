"""Passes that several runs share: split as they were put together, and no row told of another."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from convscope_sdk import Event, ImageParams, Network, Note, Run, Tensor, technique, together
from convscope_sdk.conformance.networks import CLASSIFIERS
from convscope_sdk.conformance.pictures import photograph
from convscope_sdk.inprocess import start
from convscope_sdk.together import Together, answer_all, side_by_side

SIZES: list[int] = []


def means(network: Network, pixels: torch.Tensor, *, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
    """(B,) and (B, classes)."""
    SIZES.append(len(pixels))
    return scale * pixels.mean((1, 2, 3)), network.logits(pixels)


def crooked(network: Network, pixels: torch.Tensor) -> tuple[torch.Tensor]:
    return (network.logits(pixels).mean(0),)


@technique("acme.means", needs={"image"}, batchable=True)
def mean_of(run: Run[ImageParams]) -> Iterator[Event]:
    """The mean, and a note before and after."""
    yield Note("before")
    mean, logits = yield from together(means, run.network, run.image, scale=2.0)
    yield Note("after")
    yield Tensor("mean", mean)
    yield Tensor("logits", logits)


@pytest.fixture(autouse=True)
def no_sizes() -> None:
    SIZES.clear()


@pytest.fixture
def network() -> Network:
    return CLASSIFIERS["residual"]()


def wish(network: Network, rows: int = 1, edge: int = 8, scale: float = 2.0) -> Together:
    return Together(means, network, (torch.rand(rows, 3, edge, edge),), {"scale": scale})


def test_whoever_steps_a_run_by_next_sees_no_wishes_and_each_is_answered_alone(network: Network) -> None:
    events = list(mean_of.run(network, photograph()))
    assert [type(event) for event in events] == [Note, Note, Tensor, Tensor]
    assert SIZES == [1]
    direct = list(mean_of.function(Run(network, torch.rand(1, 3, 8, 8), ImageParams(), np.random.default_rng())))
    assert [type(event) for event in direct] == [Note, Together, Note, Tensor, Tensor]


def test_rows_go_back_to_who_brought_them(network: Network) -> None:
    wishes = [wish(network), wish(network, rows=3), wish(network)]
    answers = answer_all(wishes)
    assert SIZES == [5]
    for asked, (mean, logits) in zip(wishes, answers, strict=True):
        assert torch.allclose(mean, 2 * asked.rows[0].mean((1, 2, 3)))
        assert torch.allclose(logits, network.logits(asked.rows[0]), atol=1e-5)


def test_runs_of_other_networks_shapes_and_values_never_meet(network: Network) -> None:
    first = wish(network)
    assert first.fits(wish(network))
    assert first.fits(wish(network, rows=2))
    assert not first.fits(wish(network, edge=9))
    assert not first.fits(wish(network, scale=3.0))
    assert not first.fits(wish(CLASSIFIERS["residual"]()))
    assert not first.fits(Together(crooked, network, first.rows, first.same))


def test_a_function_that_mixes_rows_away_is_told_so(network: Network) -> None:
    with pytest.raises(TypeError, match=r"crooked gave a tensor of shape \(10,\) for 1 rows"):
        answer_all([Together(crooked, network, (torch.rand(1, 3, 8, 8),), {})])


def test_runs_beside_each_other_share_one_call(network: Network) -> None:
    pictures = [photograph().rotate(90 * turns) for turns in range(4)]
    alone = [list(mean_of.run(network, picture)) for picture in pictures]
    SIZES.clear()
    beside, largest = side_by_side([start(mean_of, network, picture, tells_wishes=True) for picture in pictures])
    assert (SIZES, largest) == ([4], 4)
    for one, other in zip(alone, beside, strict=True):
        assert [type(event) for event in one] == [type(event) for event in other]
        for a, b in zip(one[2:], other[2:], strict=True):
            assert torch.allclose(a.values, b.values, atol=1e-6)  # type: ignore[union-attr]  # both are tensors
