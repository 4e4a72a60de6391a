"""Every technique on every kind of network and on pictures of every kind of size: a result or a typed refusal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from convscope_sdk.errors import NotApplicable
from convscope_sdk.events import Event, Heatmap, Image, ImageGrid, Preview, Progress
from convscope_sdk.inprocess import prepare
from convscope_sdk.network import Network
from convscope_sdk.technique import Technique
from convscope_techniques import convscope_techniques
from support.collected import Collected
from support.image_sets import few_pictures
from support.networks import function_modes
from support.painters import inverter, stylizer
from support.zoo import efficientnet, random_network, tiny

TECHNIQUES = {technique.id: technique for technique in convscope_techniques()}
QUICK: dict[str, dict[str, Any]] = {
    "occlusion": {"window": 24, "stride": 24},
    "deepdream": {"steps": 1, "octaves": 2},
    "filters": {"k": 16},
    "class_visualization": {"steps": 2},
    "feature_visualization": {"steps": 2},
    "feature_inversion": {"steps": 2},
    "latent_visualization": {"steps": 2, "size": 64, "generator": "painter"},
    "inversion_network_training": {"image_set": "few", "steps": 2, "size": 32, "batch": 2, "measured": 16},
    "fooling_image": {"steps": 2, "halvings": 1},
    "pgd": {"steps": 2},
    "smoothgrad": {"samples": 3},
    "integrated_gradients": {"steps": 8, "tolerance": 1},
    "rise": {"samples": 16},
    "score_cam": {"k": 8},
    "segmentation": {"average": "none", "steps": 1},
    "texture_synthesis": {"size": 32, "window": 5, "grow": 1.0},
    "image_quilting": {"size": 48, "window": 16},
    "neural_texture": {"steps": 2},
    "style_transfer": {"steps": 2},
    "nearest_neighbors": {"image_set": "few", "k": 3},
    "dissect": {"image_set": "few", "k": 3, "steps": 2, "size": 64},
    "activation_atlas": {"image_set": "few", "samples": 48, "cells": 2, "steps": 1, "size": 64},
    "maximal_patches": {"image_set": "few", "k": 4},
    "embedding": {"image_set": "few", "steps": 250, "size": 64},
    "fast_style_training": {"image_set": "few", "steps": 2, "batch": 1, "size": 32, "style_size": 32, "width": 4},
}
MODELS = {"painter": inverter()}
FEW = few_pictures()
PICTURE = np.random.default_rng(0).integers(0, 256, (97, 131, 3), dtype=np.uint8)
NETWORKS: dict[str, Callable[[], Network]] = {
    "efficientnet_lite0": efficientnet,
    **{
        name: lambda name=name: random_network(name)
        for name in ("resnet18", "googlenet", "densenet121", "mobilenet_v2", "convnext_atto", "vit_tiny")
    },
}
SIZES: dict[str, dict[str, Any]] = {
    "32": {"fit": "crop", "size": 32},
    "97x131": {"fit": "keep", "size": 131},
    "224": {"fit": "crop", "size": 224},
}
ADVICE = ("take ", "use ", "try ", "name ")
NETWORK_IS_NOT_ASKED = frozenset({"texture_synthesis", "image_quilting"})


def _stream(technique: Technique[Any], network: Network, *, seed: int = 3, **params: Any) -> Iterator[Event]:
    image = PICTURE if "image" in technique.needs else None
    network = stylizer() if "stylizer" in technique.needs else network
    asked = {"fit": "keep", "size": 96, **params} if image is not None else params
    if "image_set" in QUICK.get(technique.id, {}):
        asked["fit"] = "crop"  # the pictures of a set have one size
    known = {name: value for name, value in asked.items() if name in technique.params.model_fields}
    return technique.run(
        network,
        image,
        extra_images=_extras(technique),
        models=MODELS,
        image_sets=FEW,
        seed=seed,
        **{**known, **QUICK.get(technique.id, {})},
    )


def _collect(technique: Technique[Any], network: Network, **params: Any) -> Collected:
    return Collected(_stream(technique, network, **params))


def _extras(technique: Technique[Any]) -> dict[str, Any]:
    return dict.fromkeys(technique.extra_images, PICTURE[::-1])


def _assert_sound(seen: Collected) -> None:
    assert any(isinstance(event, Image | Heatmap | ImageGrid) for event in seen.events)
    assert all(np.isfinite(values).all() for values in seen.arrays())
    assert all(np.isfinite(value) for value in seen.scores.values())
    steps = [(progress.step, progress.total) for progress in seen.all(Progress)]
    assert steps == sorted(steps)
    assert all(0 < step <= total for step, total in steps)


def _sound_or_refused(technique: str, network: str, **params: Any) -> Collected | None:
    """The results, which are sound; None where a typed refusal says what to do instead."""
    try:
        seen = _collect(TECHNIQUES[technique], NETWORKS[network](), **params)
    except NotApplicable as refusal:
        if not any(advice in refusal.message for advice in ADVICE):
            raise
        return None
    _assert_sound(seen)
    return seen


@pytest.mark.parametrize("technique", TECHNIQUES)
def test_the_built_in_network_refuses_nothing(technique: str) -> None:
    assert _sound_or_refused(technique, "efficientnet_lite0") is not None


@pytest.mark.parametrize("size", ["32", "97x131", pytest.param("224", marks=pytest.mark.slow)])
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("technique", sorted(TECHNIQUES.keys() - NETWORK_IS_NOT_ASKED))
def test_every_picture_gives_sound_results_or_a_refusal_and_leaves_nothing_behind(
    technique: str, network: str, size: str
) -> None:
    lens = NETWORKS[network]()
    before = _state(lens)
    seen = _sound_or_refused(technique, network, **SIZES[size])
    assert _state(lens) == before
    assert not function_modes()
    assert torch.is_grad_enabled()
    for heatmap in seen.all(Heatmap) if seen is not None else ():
        edges = (97, 131) if size == "97x131" else (int(size),) * 2
        assert tuple(torch.as_tensor(heatmap.values).shape) == edges


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("technique", ["guided_backprop", "deconvnet"])
def test_no_plain_gradient_is_sold_as_something_else(technique: str, network: str) -> None:
    lens = NETWORKS[network]()
    fit = {"fit": "crop", "size": 224 if network == "vit_tiny" else 64}
    seen = _sound_or_refused(technique, network, target="class:3", **fit)
    assert (seen is None) == (network in {"convnext_atto", "vit_tiny"})
    if seen is None:
        return
    pixels = prepare(TECHNIQUES[technique], lens, PICTURE, params=fit).run.image.requires_grad_()
    (plain,) = torch.autograd.grad(lens.score(pixels, "class:3").sum(), pixels)
    difference = seen.tensor("gradient") - plain[0]
    assert float(difference.norm()) > 0.1 * float(plain.norm())


@pytest.mark.parametrize("network", sorted(NETWORKS.keys() - {"vit_tiny"}))
def test_grad_cam_of_a_tiny_picture_is_refused_where_the_last_maps_have_one_position(network: str) -> None:
    lens = NETWORKS[network]()
    with pytest.raises(NotApplicable, match="take layer=") as refusal:
        _collect(TECHNIQUES["grad_cam"], lens, fit="crop", size=32)
    layer = refusal.value.message.rpartition("take layer=")[2].partition(",")[0]
    _assert_sound(_collect(TECHNIQUES["grad_cam"], lens, fit="crop", size=32, layer=layer))


@pytest.mark.parametrize("technique", TECHNIQUES)
def test_the_same_seed_gives_the_same_pixels(technique: str) -> None:
    first, second = (_collect(TECHNIQUES[technique], tiny()).arrays() for _ in range(2))
    assert len(first) == len(second) > 0
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("technique", TECHNIQUES)
def test_the_same_seed_gives_the_same_pixels_while_another_run_takes_turns(technique: str) -> None:
    alone = _collect(TECHNIQUES[technique], tiny()).arrays()
    other = _stream(TECHNIQUES[technique], tiny(), seed=4)

    def beside() -> Iterator[Event]:
        for event in _stream(TECHNIQUES[technique], tiny()):
            next(other, None)
            yield event

    together = Collected(beside()).arrays()
    assert len(alone) == len(together) > 0
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


def test_another_seed_shakes_the_dream_another_way() -> None:
    dreams = [
        Collected(TECHNIQUES["deepdream"].run(tiny(), PICTURE, seed=seed, steps=2)).tensor("deepdream")
        for seed in (0, 1)
    ]
    assert not torch.equal(*dreams)


@pytest.mark.parametrize("closed_after", [1, 2, 3])
@pytest.mark.parametrize("technique", TECHNIQUES)
def test_closing_a_run_early_leaves_the_network_as_it_was(technique: str, closed_after: int) -> None:
    network = stylizer() if "stylizer" in TECHNIQUES[technique].needs else random_network("resnet18")
    before = _state(network)
    image = PICTURE if "image" in TECHNIQUES[technique].needs else None
    extras = _extras(TECHNIQUES[technique])
    params = QUICK.get(technique, {})
    more: dict[str, Any] = {"models": MODELS, "image_sets": FEW}
    stream = TECHNIQUES[technique].run(network, image, extra_images=extras, **more, **params)
    for _ in range(closed_after):
        next(stream)
        assert _state(network) == before
    stream.close()  # type: ignore[attr-defined]  # authors annotate an Iterator, the host makes a generator
    assert _state(network) == before
    assert torch.is_grad_enabled()


def _state(network: Network) -> list[tuple[object, ...]]:
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    modules = [
        (module.training, *(len(getattr(module, name)) for name in hooks)) for module in network.module.modules()
    ]
    parameters = [
        (parameter.requires_grad, parameter.grad is None, parameter._version)
        for parameter in network.module.parameters()
    ]
    return [*modules, *parameters]


@pytest.mark.parametrize("technique", TECHNIQUES)
def test_every_parameter_has_a_description_and_every_technique_a_paper(technique: str) -> None:
    schema = TECHNIQUES[technique].params.json_schema()
    assert all(field.get("description") for field in schema["properties"].values())
    assert "required" not in schema
    assert TECHNIQUES[technique].cites
    assert TECHNIQUES[technique].summary


def test_previews_of_every_optimising_or_sliding_technique_are_pictures_or_maps() -> None:
    for name in ("occlusion", "deepdream"):
        shapes = [torch.as_tensor(preview.image).ndim for preview in _collect(TECHNIQUES[name], tiny()).all(Preview)]
        assert shapes
        assert set(shapes) <= {2, 4}
