"""The built-in techniques keep the contract that everybody else's have to keep."""

from __future__ import annotations

from typing import Any

import pytest

from convscope_sdk.conformance import CHECKS, CheckFunction, Subject, name_of, run_checks
from convscope_techniques import convscope_techniques

TECHNIQUES = {technique.id: technique for technique in convscope_techniques()}
# What makes runs short where few steps do not.
SHORT: dict[str, dict[str, Any]] = {
    "texture_synthesis": {"size": 16, "window": 3, "grow": 1.0},
    "image_quilting": {"size": 32, "window": 12, "grow": 1.0},
    "rise": {"samples": 8},
    "class_visualization": {"size": 32, "steps": 2},
    "feature_visualization": {"size": 32, "steps": 2},
    "neural_texture": {"steps": 1},
    "style_transfer": {"steps": 1},
    "embedding": {"steps": 250, "size": 64},
    "activation_atlas": {"cells": 3, "steps": 2, "size": 32, "samples": 48},
    "fast_style_training": {"steps": 2, "batch": 1, "size": 32, "style_size": 32, "width": 4},
    "inversion_network_training": {"steps": 2, "size": 32, "batch": 2, "measured": 16},
}
# Every check, for one technique of each way of working; the others are tried on what their first runs show.
IN_FULL = ("filters", "saliency", "smoothgrad", "grad_cam", "guided_backprop", "occlusion", "deepdream", "pgd")
QUICK = [check for check in CHECKS if name_of(check) not in {"check_runs_with_defaults", "check_survives_odd_pictures"}]


@pytest.mark.parametrize("technique", TECHNIQUES)
def test_a_built_in_technique_conforms(technique: str) -> None:
    checks: list[CheckFunction] = list(CHECKS) if technique in IN_FULL else QUICK
    subject = Subject(TECHNIQUES[technique], params=SHORT.get(technique), patience=20.0)
    outcomes = list(run_checks(subject, checks))
    assert [(outcome.check, outcome.detail) for outcome in outcomes if not outcome.ok] == []
    assert any(outcome.state == "passed" for outcome in outcomes)
