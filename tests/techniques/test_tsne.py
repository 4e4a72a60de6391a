from __future__ import annotations

import builtins
from collections.abc import Generator
from typing import Any

import numpy as np
import pytest

from convscope_sdk.errors import InvalidParams, NotApplicable
from convscope_sdk.packing import Packer, Unpacker
from convscope_techniques.embedding import tsne
from convscope_techniques.embedding.tsne import Frame, Tsne

POINTS = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32) + np.repeat([0, 9], 20)[:, None]


def frames(stream: Generator[Frame, None, Frame]) -> tuple[list[Frame], Frame]:
    found = []
    while True:
        try:
            found.append(next(stream))
        except StopIteration as end:
            return found, end.value


def test_layouts_come_every_so_many_steps_and_the_divergence_falls() -> None:
    points = POINTS.astype(np.float32)
    found, last = frames(Tsne(10, steps=500, every=50).begin(points).run())
    assert [frame.step for frame in found] == list(range(50, 501, 50))
    np.testing.assert_array_equal(found[-1].layout, last.layout)
    assert last.kl < found[5].kl < found[0].kl
    assert last.kl == pytest.approx(found[-1].kl, abs=0.01)
    assert (np.sign(last.layout[:20] - last.layout.mean(0)) != np.sign(last.layout[20:] - last.layout.mean(0))).any()


def test_perplexity_is_30_where_there_are_enough_images_and_less_where_not() -> None:
    assert Tsne.perplexity_for(500, None) == 30
    assert Tsne.perplexity_for(40, None) == 13
    assert Tsne.perplexity_for(40, 12.5) == 12.5


def test_a_perplexity_that_is_too_large_gets_the_bound_and_a_value_to_use() -> None:
    with pytest.raises(InvalidParams, match=r"at most \(n - 1\) / 3 = 13; take perplexity=13") as refusal:
        Tsne.perplexity_for(40, 30)
    assert refusal.value.violations[0].field == "params.perplexity"
    with pytest.raises(InvalidParams, match=r"= 13\.33; take perplexity=13\.3"):
        Tsne.perplexity_for(41, 13.4)


def test_three_points_are_too_few() -> None:
    with pytest.raises(NotApplicable, match="method=pca"):
        Tsne.perplexity_for(3, None)


def test_without_opentsne_many_points_are_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def absent(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "openTSNE":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(tsne, "SCIKIT_UP_TO", 30)
    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(NotApplicable, match=r"pip install 'convscope\[sets\]'"):
        frames(Tsne(10).begin(POINTS).run())


@pytest.mark.parametrize(("by", "scikit_up_to"), [("scikit-learn", 2000), ("openTSNE", 30)])
def test_a_layout_put_down_at_any_frame_goes_on_to_the_same_bits(
    monkeypatch: pytest.MonkeyPatch, by: str, scikit_up_to: int
) -> None:
    monkeypatch.setattr(tsne, "SCIKIT_UP_TO", scikit_up_to)
    layout, kept = Tsne(10, steps=300, every=35), []
    forming = layout.begin(POINTS)
    stream, whole = forming.run(), []
    while True:
        try:
            whole.append(next(stream))
        except StopIteration as end:
            whole.append(end.value)
            break
        packer = Packer()
        kept.append((packer.pack(forming.state_dict(), "layout"), packer.tensors))
    assert len(kept) == 8
    for number, (packed, tensors) in enumerate(kept, start=1):
        other = layout.begin(POINTS)
        other.load_state_dict(Unpacker(tensors, "cpu").unpack(packed))
        found, last = frames(other.run())
        for one, expected in zip([*found, last], whole[number:], strict=True):
            assert (one.step, one.kl) == (expected.step, expected.kl)
            np.testing.assert_array_equal(one.layout, expected.layout)


@pytest.mark.parametrize("scikit_up_to", [2000, 30])
def test_a_layout_does_not_go_on_from_one_of_other_points(monkeypatch: pytest.MonkeyPatch, scikit_up_to: int) -> None:
    monkeypatch.setattr(tsne, "SCIKIT_UP_TO", scikit_up_to)
    forming = Tsne(5, steps=250).begin(POINTS)
    next(forming.run())
    with pytest.raises(ValueError, match="40"):
        Tsne(5, steps=250).begin(POINTS[:35]).load_state_dict(forming.state_dict())
