"""Whatever steers a technique that makes something step by step does so in the midst of a run."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from itertools import zip_longest
from typing import Any

import numpy as np
import pytest

from convscope_sdk.conformance.recording import same
from convscope_sdk.events import Event, Image, ImageGrid, Progress, Tensor
from convscope_sdk.inprocess import start
from convscope_sdk.state import Memory, Saved
from convscope_techniques import convscope_techniques
from support.image_sets import few_pictures
from support.painters import inverter
from support.zoo import tiny

TECHNIQUES = {technique.id: technique for technique in convscope_techniques()}
PICTURE, STYLE, OTHER = np.random.default_rng(0).integers(0, 256, (3, 48, 72, 3), dtype=np.uint8)
OPTIONS: Mapping[str, dict[str, Any]] = {
    "dissect": {"image_sets": few_pictures()},
    "embedding": {"image_sets": few_pictures()},
    "fast_style_training": {"image_sets": few_pictures(), "extra_images": {"style": STYLE}},
    "inversion_network_training": {"image_sets": few_pictures()},
    "latent_visualization": {"models": {"painter": inverter()}},
    "style_transfer": {"extra_images": {"style": STYLE, "style2": OTHER // 3}},
}
# By technique: parameters to begin with, and what each of its steers becomes; a dict is of those that change with it.
CHANGES: Mapping[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "class_visualization": (
        {"size": 32, "steps": 8, "schedule": "progress", "step_size": 1e9, "blur_radius": 0.5, "blur_every": 2},
        {
            "target": 3, "steps": 12, "step_size": 1.0, "schedule": "normalised", "progress": 9.0, "l2": 1e-3,
            "decay": 0.5, "blur_radius": 2.0, "blur_every": 1, "small_norm": 50.0, "small_contribution": 50.0,
            "jitter": 5, "preview_every": 1,
        },
    ),
    "deepdream": (
        {"targets": ("conv2", "conv3:3"), "size": 72, "octaves": 2, "steps": 3, "frames": 3},
        {
            "targets": ("conv3", "class:3"), "weights": (1.0, -1.0), "step_size": 9.0, "jitter": 0, "steps": 2,
            "clip": False, "frames": 1, "zoom": 0.3, "preview_every": 9,
            "layer": {"layer": "conv3", "targets": ()}, "target": {"target": "conv3:3@5,6", "targets": ()},
        },
    ),
    "dissect": (
        {"image_set": "few", "target": "conv3:3", "size": 32, "steps": 8},
        {"steps": 12, "preview_every": 1},
    ),
    "embedding": (
        {"image_set": "few", "size": 64, "steps": 300},
        {"steps": 400, "preview_every": 20},
    ),
    "fast_style_training": (
        {
            "image_set": "few", "size": 32, "style_size": 32, "width": 4, "blocks": 0, "batch": 1, "steps": 8,
            "content_layers": ("conv2",), "style_layers": ("conv1", "conv2"),
        },
        {
            "steps": 3, "learning_rate": 0.1, "content_weight": 9.0, "style_weight": 9.0, "checkpoint_every": 3,
            "preview_every": 1,
        },
    ),
    "feature_inversion": (
        {"layers": ("conv2", "conv3"), "steps": 6, "step_size": 0.5},
        {
            "variation": 1e3, "beta": 1.5, "alpha": 2.0, "alpha_norm": 0.01, "steps": 3, "step_size": 0.1,
            "preview_every": 1,
        },
    ),
    "feature_visualization": (
        {"targets": ("conv2:1", "class:2"), "size": 32, "steps": 8, "pad": 2, "last_jitter": 2, "samples": 2},
        {
            "target": {"target": "class:3", "targets": ()}, "weights": (1.0, -1.0), "variation": 0.1, "diversity": 1.0,
            "cosine_power": {"targets": (), "layer": "conv2", "direction": (1.0,) * 8, "cosine_power": 2.0},
            "pad": 4, "jitter": 0, "scale": 0.0, "rotate": 0, "last_jitter": 0, "steps": 3, "step_size": 1.0,
            "preview_every": 1,
        },
    ),
    "fooling_image": (
        {"steps": 12, "step_size": 0.01},
        {"steps": 8, "step_size": 0.2, "magnify": 2.0, "preview_every": 2},
    ),
    "image_quilting": (
        {"size": 48, "window": 12, "preview_every": 4},
        {"error_threshold": 9.0, "preview_every": 1},
    ),
    "inversion_network_training": (
        {"image_set": "few", "layer": "relu3", "widths": (8, 6), "size": 32, "batch": 2, "measured": 16, "steps": 8},
        {"steps": 12, "step_size": 0.1, "halve_every": 2, "checkpoint_every": 3, "preview_every": 1},
    ),
    "latent_visualization": (
        {"generator": "painter", "steps": 8, "step_size": 0.1},
        {
            "target": 3, "steps": 5, "step_size": 2.0, "final_step_size": 1.0, "decay": 0.5, "noise": 0.5,
            "preview_every": 1,
        },
    ),
    "neural_texture": (
        {"size": 32, "steps": 11, "optimizer": "adam", "layers": ("conv1", "conv2")},
        {
            "weights": (1.0, 0.0), "tv_weight": 9.0, "steps": 16, "step_size": 20.0, "final_step_size": 50.0,
            "histogram": True, "preview_every": 1,
        },
    ),
    "pgd": (
        {"steps": 8, "sweep": (1e-4, 2e-4)},
        {"step_size": 1e-6, "magnify": 2.0, "preview_every": 3},
    ),
    "style_transfer": (
        {"size": 80, "steps": 22, "octaves": 2, "style_layers": ("conv1", "conv2")},
        {
            "content_weight": 100.0, "style_weight": 1.0, "tv_weight": 0.0, "layer_weights": (1.0, 0.0),
            "style_shares": (1.0, 0.0), "steps": 18, "step_size": 20.0, "final_step_size": 20.0, "preview_every": 1,
        },
    ),
    "texture_synthesis": (
        {"size": 24, "window": 5, "grow": 1.0, "preview_every": 40},
        {"error_threshold": 9.0, "preview_every": 9},
    ),
}  # fmt: skip


@functools.cache
def _put_down(technique: str) -> tuple[int, list[Event], Saved]:
    """The step in the middle of a run, what is to come of it behind that, and what is kept of it."""
    events: list[Event] = []
    kept: list[tuple[int, Saved]] = []

    def keep(memory: Memory) -> None:
        kept.append((len(events), memory.save()))

    for event in _stream(technique, CHANGES[technique][0], keep=keep):
        events.append(event)  # noqa: PERF402 - `keep` counts them
    at, saved = kept[len(kept) // 2]
    return max(event.step for event in events[:at] if isinstance(event, Progress)), events[at:], saved


def _stream(technique: str, params: dict[str, Any], **more: Any) -> Any:
    options = {**OPTIONS.get(technique, {}), **more}
    image = PICTURE if "image" in TECHNIQUES[technique].needs else None
    return start(TECHNIQUES[technique], tiny(), image, params=params, seed=3, **options)


def _results(events: list[Event]) -> list[str]:
    return [event.name for event in events if isinstance(event, Image | ImageGrid | Tensor)]


@pytest.mark.parametrize("technique", CHANGES)
def test_every_steer_is_tried(technique: str) -> None:
    assert set(CHANGES[technique][1]) == TECHNIQUES[technique].steers


@pytest.mark.parametrize(("technique", "name"), [(each, name) for each in CHANGES for name in CHANGES[each][1]])
def test_a_steer_counts_from_where_the_run_was_put_down(technique: str, name: str) -> None:
    at, expected, saved = _put_down(technique)
    begun, changes = CHANGES[technique]
    changed = changes[name] if isinstance(changes[name], dict) else {name: changes[name]}
    found = list(_stream(technique, {**begun, **changed}, saved=saved))
    assert not all(same(one, other) for one, other in zip_longest(found, expected))
    assert _results(found) == _results(expected)
    steps = [event.step for event in found if isinstance(event, Progress)]
    assert steps == sorted(steps)
    assert min(steps, default=at + 1) > at
