from __future__ import annotations

from typing import Any

import pytest
import skimage.data
import torch

from convscope_sdk.conformance import Subject, check_goes_on_where_it_was_put_down
from convscope_sdk.errors import InvalidImage, InvalidParams, NotApplicable, UnknownName
from convscope_sdk.events import Predictions, Preview, Progress, Table
from convscope_sdk.inprocess import start
from convscope_techniques.texture.colours import luma
from convscope_techniques.texture.style_params import StyleTransferParams
from convscope_techniques.texture.style_transfer import style_transfer
from support.collected import Collected
from support.put_down import put_down
from support.zoo import efficientnet, random_network, tiny

CONTENT = skimage.data.chelsea()[20:260:8, 60:380:8]
STYLE = skimage.data.retina()[300:1100:20, 300:1100:20]
OTHER = skimage.data.coffee()[::12, ::12]
PIXELS = torch.from_numpy(CONTENT.copy()).permute(2, 0, 1) / 255
QUICK = {"size": 40, "steps": 6, "tv_weight": 0}


def _run(seed: int = 0, extra: dict[str, Any] | None = None, **params: Any) -> Collected:
    images = {"style": STYLE} if extra is None else extra
    return Collected(style_transfer.run(tiny(), CONTENT, extra_images=images, seed=seed, **{**QUICK, **params}))


def test_the_presets_values_are_the_papers() -> None:
    gatys, peer, course = (StyleTransferParams(preset=name) for name in ("gatys-2016", "neural-style-pt", "cs231n"))
    assert gatys.content_layers == peer.content_layers == ("relu4_2",)
    assert gatys.style_layers == peer.style_layers == ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
    assert (gatys.content_weight / gatys.style_weight, gatys.convention, gatys.pooling) == (1e-3, "gatys", "average")
    assert (peer.content_weight, peer.style_weight, peer.tv_weight, peer.steps, peer.history) == (
        5,
        100,
        1e-3,
        1000,
        100,
    )
    assert course.layer_weights == (20000, 500, 12, 1)
    assert (course.content_weight, course.optimizer, course.steps, course.convention) == (0.05, "adam", 200, "sum")
    assert (course.step_size, course.final_step_size) == pytest.approx((3 * 0.226 * 255, 0.1 * 0.226 * 255), rel=1e-3)
    assert course.tv_weight == pytest.approx(5e-2 / 0.226**2, rel=1e-3)


def test_with_style_alone_the_style_is_reached_and_with_content_alone_the_picture_stays() -> None:
    styled = _run(optimizer="lbfgs", steps=150, content_weight=0)
    kept = _run(optimizer="lbfgs", steps=5, style_weight=0)
    assert styled.scores["style_loss_after"] < 0.05 * styled.scores["style_loss_before"]
    assert torch.allclose(kept.tensor("stylized"), PIXELS, atol=1e-3)


def test_from_noise_both_losses_fall() -> None:
    scores = _run(optimizer="lbfgs", steps=80, start="noise", style_weight=10).scores
    assert scores["content_loss_after"] < 0.6 * scores["content_loss_before"]
    assert scores["style_loss_after"] < 0.1 * scores["style_loss_before"]


def test_a_picture_in_its_own_style_stays_itself() -> None:
    seen = _run(extra={"style": CONTENT}, optimizer="lbfgs")
    assert torch.allclose(seen.tensor("stylized"), PIXELS, atol=1e-3)


def test_kept_colours_differ_from_the_picture_in_brightness_alone() -> None:
    seen = _run(keep_colours=True, style_weight=30, steps=20, final_step_size=1)
    result, before = seen.tensor("stylized")[None], PIXELS[None]
    inside = ((result > 0) & (result < 1)).all(1, keepdim=True)
    chroma, wanted = result - luma(result), before - luma(before)
    assert torch.allclose((chroma * inside), (wanted * inside), atol=1e-5)
    assert float((luma(result) - luma(before)).abs().mean()) > 0.01


def test_several_styles_are_blended_by_their_shares() -> None:
    both = {"style": STYLE, "style2": OTHER}
    only_second = _run(extra=both, style_shares=[0, 3])
    second = _run(extra={"style": OTHER})
    halves, equal = _run(extra=both, style_shares=[2, 2]), _run(extra=both)
    assert torch.allclose(only_second.tensor("stylized"), second.tensor("stylized"), atol=1e-5)
    assert torch.equal(halves.tensor("stylized"), equal.tensor("stylized"))
    assert not torch.allclose(equal.tensor("stylized"), second.tensor("stylized"), atol=1e-3)


def test_octaves_grow_to_the_pictures_size_with_half_the_steps_each() -> None:
    seen = _run(octaves=2, steps=8, preview_every=1, size=96)
    assert [(event.step, event.total) for event in seen.all(Progress)] == [(step, 12) for step in range(1, 13)]
    sizes = [tuple(torch.as_tensor(preview.image).shape[-2:]) for preview in seen.all(Preview)]
    assert sizes == [(36, 48)] * 8 + [(72, 96)] * 4
    assert tuple(seen.tensor("stylized").shape) == (3, 72, 96)


def test_the_report_holds_every_term_both_losses_and_what_the_network_sees_now() -> None:
    seen = _run(tv_weight=0.1, content_layers=["relu1", "relu2"], style_layers=["conv1", "conv3"])
    (table,) = seen.all(Table)
    terms = ["content relu1", "content relu2", "style conv1", "style conv3", "total_variation"]
    assert [row["term"] for row in table.rows] == terms
    assert set(seen.all(Progress)[0].metrics) == {*terms, "objective"}
    assert seen.scores["style_loss_after"] == pytest.approx(sum(row["after"] for row in table.rows[2:4]))
    assert {"l2", "linf", "total_variation", "edge_agreement"} <= seen.scores.keys()
    assert len(seen.all(Predictions)) == 1


def test_without_a_style_it_is_refused() -> None:
    with pytest.raises(InvalidImage, match="extra image `style`") as refusal:
        _run(extra={})
    assert refusal.value.reason == "IMAGE_MISSING"


def test_what_cannot_be_done_is_refused() -> None:
    with pytest.raises(InvalidParams, match="give each a share"):
        _run(style_shares=[1, 2])
    with pytest.raises(InvalidParams, match="one for each"):
        _run(layer_weights=[1, 2])
    with pytest.raises(NotApplicable, match="leave out the preset"):
        _run(preset="gatys-2016")
    with pytest.raises(UnknownName, match="style5"):
        _run(extra={"style5": STYLE})


@pytest.mark.parametrize(
    ("preset", "name", "steps"),
    [("gatys-2016", "vgg11", 4), ("neural-style-pt", "vgg11", 4), ("cs231n", "squeezenet1_1", 40)],
)
def test_the_presets_run_on_the_networks_they_are_for(preset: str, name: str, steps: int) -> None:
    images = {"style": STYLE}
    run = style_transfer.run(random_network(name), CONTENT, extra_images=images, preset=preset, steps=steps, size=64)
    losses = [progress.metrics["objective"] for progress in Collected(run).all(Progress)]
    assert len(losses) == steps
    assert min(losses) < losses[0]


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"optimizer": "lbfgs", "size": 80, "octaves": 2, "start": "noise"},
        {"size": 80, "octaves": 2, "keep_colours": True},
    ],
    ids=["adam", "lbfgs in octaves", "brightness in octaves"],
)
def test_it_goes_on_where_it_was_put_down(params: dict[str, Any]) -> None:
    check_goes_on_where_it_was_put_down(Subject(style_transfer, params={**QUICK, "steps": 9, **params}))


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_the_style_may_be_made_to_count_more_in_the_midst_of_it(optimizer: str) -> None:
    params = {**QUICK, "optimizer": optimizer, "steps": 60, "style_weight": 1.0, "content_weight": 10.0}
    options: dict[str, Any] = {"extra_images": {"style": STYLE}}
    before, saved = put_down(style_transfer, tiny(), CONTENT, state=30, params=params, **options)
    more = {**params, "style_weight": 1000.0, "tv_weight": 1.0}
    steered = Collected(start(style_transfer, tiny(), CONTENT, saved=saved, params=more, **options))
    assert steered.scores["style_loss_after"] < 0.5 * steered.scores["style_loss_before"]
    last, first = (seen.all(Progress)[number].metrics for seen, number in ((before, -1), (steered, 0)))
    assert first["style input"] == pytest.approx(1000 * last["style input"], rel=0.5)
    (losses,) = steered.all(Table)
    assert "total_variation" in {row["term"] for row in losses.rows} - set(last)


@pytest.mark.slow
def test_on_a_network_that_has_learned_to_see_style_arrives_and_content_stays() -> None:
    run = style_transfer.run(
        efficientnet(), skimage.data.chelsea(), extra_images={"style": skimage.data.retina()}, size=96, steps=60
    )
    scores = Collected(run).scores
    assert scores["style_loss_after"] < 0.5 * scores["style_loss_before"]
    assert scores["edge_agreement"] > 0.2
