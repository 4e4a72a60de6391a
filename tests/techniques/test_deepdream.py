from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from convscope_sdk.conformance import Subject, check_goes_on_where_it_was_put_down
from convscope_sdk.errors import InvalidParams, TechniqueError
from convscope_sdk.events import Image, Preview, Progress
from convscope_sdk.inprocess import prepare, start
from convscope_techniques.synthesis.deepdream import DeepDreamParams, deepdream
from convscope_techniques.synthesis.dream import Dream
from convscope_techniques.synthesis.zoom import zoomed
from support.collected import Collected
from support.put_down import put_down
from support.zoo import network_of, tiny

PICTURE = np.random.default_rng(0).integers(0, 256, (48, 72, 3), dtype=np.uint8)
PIXELS = torch.from_numpy(PICTURE).permute(2, 0, 1) / 255
SHORT = {"layer": "conv2", "size": 72, "octaves": 1, "steps": 1}


def test_the_defaults_are_those_of_the_notebook() -> None:
    params = DeepDreamParams()
    assert (params.step_size, params.jitter, params.steps) == (1.5, 32, 10)
    assert (params.octaves, params.octave_scale, params.clip) == (4, 1.4, True)


@pytest.mark.parametrize("seed", range(3))
def test_without_clipping_a_run_of_one_step_changes_the_pixels_by_the_step_size(seed: int) -> None:
    seen = Collected(deepdream.run(tiny(), PICTURE, clip=False, seed=seed, **SHORT))
    assert float((seen.tensor("deepdream") - PIXELS).abs().mean()) == pytest.approx(1.5 / 255, rel=1e-4)


def test_jitter_is_undone_so_that_a_network_blind_to_shifts_dreams_the_same() -> None:
    conv = nn.Conv2d(3, 6, 3, padding=1, padding_mode="circular")
    network = network_of(conv=conv, pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten())
    still, shaken = (
        Collected(deepdream.run(network, PICTURE, layer="conv", size=72, octaves=1, steps=5, jitter=jitter))
        for jitter in (0, 32)
    )
    assert torch.allclose(still.tensor("deepdream"), shaken.tensor("deepdream"), atol=1e-5)
    assert not torch.allclose(still.tensor("deepdream"), PIXELS, atol=1e-2)


def test_octaves_are_the_floors_of_the_formula_and_the_dream_has_the_size_of_the_picture() -> None:
    seen = Collected(deepdream.run(tiny(), np.zeros((100, 150, 3), np.uint8) + 90, size=150, layer="conv2", steps=1))
    sizes = [tuple(torch.as_tensor(p.image).shape[-2:]) for p in seen.all(Preview)]
    assert sizes == [(int(100 / 1.4**k), int(150 / 1.4**k)) for k in (3, 2, 1, 0)]
    assert tuple(seen.tensor("deepdream").shape) == (3, 100, 150)
    assert [(p.step, p.total) for p in seen.all(Progress)] == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_octaves_that_get_too_small_are_left_out_and_it_is_said() -> None:
    seen = Collected(deepdream.run(tiny(), PICTURE, layer="conv2", size=72, steps=1))
    assert [p.total for p in seen.all(Progress)] == [2, 2]
    assert any("2 of 4 octaves" in note for note in seen.notes)


@pytest.mark.parametrize("target", ["conv3", "conv3:3", "class:2", "conv3:3@5,6"])
def test_the_objective_rises_for_every_kind_of_target(target: str) -> None:
    seen = Collected(deepdream.run(tiny(), PICTURE, target=target, size=72, octaves=2, steps=3))
    assert seen.scores["objective_after"] > seen.scores["objective_before"]


def test_clipped_pixels_stay_in_range_and_free_ones_are_shown_in_range() -> None:
    clipped = Collected(deepdream.run(tiny(), PICTURE, step_size=60, **SHORT))
    free = Collected(deepdream.run(tiny(), PICTURE, step_size=60, clip=False, **SHORT))
    assert 0 <= clipped.tensor("deepdream").min() <= clipped.tensor("deepdream").max() <= 1
    assert free.tensor("deepdream").max() > 1
    shown = torch.as_tensor(free.one(Image, "deepdream").image)
    assert 0 <= shown.min() <= shown.max() <= 1
    assert float((shown == 1).float().mean()) < 0.001


def test_previews_come_as_often_as_asked() -> None:
    seen = Collected(deepdream.run(tiny(), PICTURE, layer="conv2", size=72, octaves=1, steps=7, preview_every=3))
    assert len(seen.all(Preview)) == 2
    assert len(seen.all(Progress)) == 7


def test_the_default_layer_is_named_in_a_note() -> None:
    seen = Collected(deepdream.run(tiny(), PICTURE, size=72, octaves=1, steps=1))
    assert any("60 %" in note and "relu2" in note for note in seen.notes)


def test_a_target_without_a_gradient_is_refused() -> None:
    conv = nn.Conv2d(3, 4, 3)
    conv.bias.data.fill_(-1e6)
    network = network_of(conv=conv, relu=nn.ReLU(), pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten())
    with pytest.raises(TechniqueError, match="does not answer"):
        list(deepdream.run(network, PICTURE, layer="relu", size=72))


def test_layer_and_target_together_are_refused() -> None:
    with pytest.raises(InvalidParams, match="give one of"):
        deepdream.run(tiny(), PICTURE, layer="conv2", target="conv3")


@pytest.mark.parametrize("params", [{"weights": [1.0]}, {"targets": ["conv2"], "weights": [0.0]}])
def test_weights_without_sense_are_refused(params: dict[str, Any]) -> None:
    with pytest.raises(InvalidParams, match=r"one for each|nothing to dream of"):
        deepdream.run(tiny(), PICTURE, **params)


def test_a_weight_of_zero_leaves_the_dream_of_the_other_target() -> None:
    both, alone = (
        Collected(deepdream.run(tiny(), PICTURE, size=72, octaves=2, steps=2, **wish))
        for wish in ({"targets": ["conv2", "conv3:3"], "weights": [1.0, 0.0]}, {"target": "conv2"})
    )
    assert torch.allclose(both.tensor("deepdream"), alone.tensor("deepdream"), atol=1e-5)


def test_the_report_has_the_objective_of_each_target_and_how_far_the_picture_went() -> None:
    seen = Collected(deepdream.run(tiny(), PICTURE, size=72, octaves=1, targets=["conv2", "class:3"], steps=4))
    assert seen.scores["conv2_after"] > seen.scores["conv2_before"]
    assert seen.scores["class:3_after"] > seen.scores["class:3_before"]
    assert seen.scores["objective_after"] == pytest.approx(seen.scores["conv2_after"] + seen.scores["class:3_after"])
    change = seen.tensor("deepdream") - PIXELS
    assert seen.scores["l2"] == pytest.approx(float(change.norm()), rel=1e-5)
    assert seen.scores["linf"] == pytest.approx(float(change.abs().max()), rel=1e-5)


def test_frames_are_a_zoom_that_dreams_again_in_every_frame_and_their_previews_are_the_film() -> None:
    params = {"layer": "conv2", "size": 72, "octaves": 1, "steps": 2, "jitter": 0}
    film = Collected(deepdream.run(tiny(), PICTURE, frames=3, zoom=0.1, **params))
    first = Collected(deepdream.run(tiny(), PICTURE, **params)).tensor("deepdream")
    shown = [torch.as_tensor(preview.image)[0] for preview in film.all(Preview)]
    assert len(shown) == 3
    assert torch.equal(shown[0], first)
    assert torch.equal(shown[2], film.tensor("deepdream"))
    assert [p.step for p in film.all(Progress)] == [1, 2, 3, 4, 5, 6]
    drift = (shown[1] - zoomed(shown[0][None], 0.1)[0]).abs().mean()
    assert float(drift) < 2 * 2 * 1.5 / 255
    assert float((shown[1] - shown[0]).abs().mean()) > 2 * float(drift)


def test_a_picture_beyond_a_tile_is_seen_through_windows_and_changes_by_the_step_size_all_the_same() -> None:
    seen = Collected(deepdream.run(tiny(), PICTURE, size=300, tile=128, clip=False, layer="conv2", octaves=1, steps=1))
    before = torch.as_tensor(deepdream_input(300))
    assert float((seen.tensor("deepdream") - before).abs().mean()) == pytest.approx(1.5 / 255, rel=1e-4)
    assert any("20 windows of at most 128 px" in note for note in seen.notes)


def deepdream_input(size: int) -> torch.Tensor:
    return prepare(deepdream, tiny(), PICTURE, params={"size": size}).run.image[0]


def test_a_guide_leads_the_dream_towards_its_own_features() -> None:
    guide = np.random.default_rng(5).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    params = {"layer": "conv3", "size": 72, "octaves": 1, "steps": 6}
    led = Collected(deepdream.run(tiny(), PICTURE, extra_images={"guide": guide}, **params))
    free = Collected(deepdream.run(tiny(), PICTURE, **params))
    assert led.scores["objective_after"] > led.scores["objective_before"]
    assert not torch.allclose(led.tensor("deepdream"), free.tensor("deepdream"), atol=1e-3)


@pytest.mark.parametrize(("layer", "warned"), [("conv2", True), ("relu2", False)])
def test_a_guide_at_features_of_both_signs_comes_with_a_warning(layer: str, warned: bool) -> None:
    run = deepdream.run(tiny(), PICTURE, layer=layer, size=72, octaves=1, steps=1, extra_images={"guide": PICTURE})
    assert any("behind a ReLU" in note for note in Collected(run).notes) == warned


def test_a_guide_for_a_channel_is_refused() -> None:
    with pytest.raises(InvalidParams, match="name a layer alone"):
        list(deepdream.run(tiny(), PICTURE, target="conv2:1", extra_images={"guide": PICTURE}))


@pytest.mark.parametrize(
    "params",
    [{"octaves": 2, "steps": 3}, {"frames": 3, "zoom": 0.1, "octaves": 2, "steps": 2}, {"clip": False, "jitter": 0}],
    ids=["octaves", "frames", "free"],
)
def test_it_goes_on_where_it_was_put_down(params: dict[str, Any]) -> None:
    check_goes_on_where_it_was_put_down(Subject(deepdream, params=params))


def _led_elsewhere(state: int, params: dict[str, Any], **others: Any) -> tuple[Collected, Collected]:
    """A dream up to that state, and from there on with other parameters."""
    before, saved = put_down(deepdream, tiny(), PICTURE, state=state, params=params)
    return before, Collected(start(deepdream, tiny(), PICTURE, saved=saved, params={**params, **others}))


def test_led_to_another_layer_it_goes_on_there_from_the_pixels_that_it_has() -> None:
    params = {"size": 72, "octaves": 2, "steps": 4, "jitter": 0}
    before, after = _led_elsewhere(6, {"layer": "conv2", **params}, layer="conv3", step_size=3.0)
    reached, next_one = (torch.as_tensor(seen.all(Preview)[at].image) for seen, at in ((before, -1), (after, 0)))
    moved, objective = Dream(tiny(), [tiny().resolve("conv3")], [1.0]).ascended(reached, 3 / 255)
    assert torch.equal(next_one, moved.clamp(0, 1))
    assert after.all(Progress)[0].metrics["objective"] == objective
    assert [(p.step, p.total) for p in after.all(Progress)] == [(7, 8), (8, 8)]
    assert "dreams at conv3 from step 7 on" in after.notes
    assert after.one(Image, "deepdream").caption == "more of conv3"


def test_led_to_what_it_dreams_of_already_it_says_nothing() -> None:
    _, after = _led_elsewhere(2, {"layer": "conv2", "size": 72, "octaves": 1, "steps": 4}, steps=6, jitter=4)
    assert after.notes == Collected(deepdream.run(tiny(), PICTURE, **SHORT)).notes[1:]
    assert [(p.step, p.total) for p in after.all(Progress)] == [(step, 6) for step in range(3, 7)]


def test_weights_may_be_turned_round_in_the_midst_of_it() -> None:
    params = {"targets": ("conv2", "class:3"), "size": 72, "octaves": 1, "steps": 12, "jitter": 0}
    _, after = _led_elsewhere(6, {**params, "weights": (1.0, 0.0)}, weights=(-1.0, 0.0))
    objectives = [progress.metrics["objective"] for progress in after.all(Progress)]
    assert objectives == sorted(objectives)
    assert objectives[-1] < 0


@pytest.mark.parametrize("state", [1, 3, 4])
def test_led_to_a_neuron_it_goes_on_in_the_one_size_that_has_its_place(state: int) -> None:
    params = {"size": 72, "octaves": 2, "steps": 2}
    before, after = _led_elsewhere(state, {"layer": "conv2", **params}, layer=None, target="conv3:3@5,6")
    assert tuple(after.tensor("deepdream").shape) == (3, 48, 72)
    steps = [p.step for seen in (before, after) for p in seen.all(Progress)]
    assert steps == sorted(set(steps))
    back, layer = _led_elsewhere(1, {"target": "conv3:3@5,6", **params}, target=None, layer="conv2")
    assert tuple(layer.tensor("deepdream").shape) == (3, 48, 72)
    assert [(p.step, p.total) for seen in (back, layer) for p in seen.all(Progress)] == [(1, 2), (2, 2)]


def test_a_film_may_become_longer_or_end_with_the_frame_that_it_is_at() -> None:
    params = {"layer": "conv2", "size": 72, "octaves": 2, "steps": 2, "frames": 2}
    whole = Collected(deepdream.run(tiny(), PICTURE, **{**params, "frames": 4}))
    for frames, left in ((4, 11), (1, 1), (2, 3)):
        _, after = _led_elsewhere(5 if frames != 1 else 3, params, frames=frames)
        assert len(after.all(Progress)) == left
        if frames == 4:
            assert torch.equal(after.tensor("deepdream"), whole.tensor("deepdream"))
