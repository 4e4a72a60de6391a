"""What contract v1 promised to plugin authors holds."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import convscope
from convscope_sdk.conformance import CHECKS, Subject, run_checks
from convscope_sdk.conformance.found import find
from convscope_sdk.contract import DEPRECATIONS, Deprecation
from convscope_sdk.loader import Loader
from convscope_sdk.technique import Technique

FROZEN = Path(__file__).parents[1] / "frozen" / "contract_v1.py"
DIGEST = "2643162ea7f2ca154b32ee7bad0e2aa5dc357ba1547efe28377606f45a8236f9"
OLD = Deprecation("stall_seconds below one", "0.3", "0.6", lambda t: t.stall_seconds < 1, "leave it out")


def test_nobody_has_changed_the_frozen_plugin() -> None:
    assert hashlib.sha256(FROZEN.read_bytes()).hexdigest() == DIGEST


def test_yesterdays_plugin_still_conforms() -> None:
    technique = find("frozen.everything", [FROZEN])
    outcomes = list(run_checks(Subject(technique), CHECKS))
    assert [(outcome.check, outcome.detail) for outcome in outcomes if not outcome.ok] == []


def test_yesterdays_plugin_still_gives_everything_that_it_gave() -> None:
    picture = Image.radial_gradient("L").convert("RGB")
    with convscope.embedded(plugin_files=[FROZEN]) as client:
        result = client.visualize(
            "frozen.everything",
            image=picture,
            model="frozen:tiny",
            extra_images={"second": picture},
            preset="thorough",
            layer="first_conv",
        ).result()
        with pytest.raises(convscope.ConvscopeError, match="seven is refused"):
            client.visualize("frozen.everything", image=picture, model="frozen:tiny", steps=7).result()
        with pytest.raises(convscope.RunFailed, match="take a trained network"):
            client.visualize("frozen.refuses", model="frozen:tiny").result()
    assert set(result.images) == {"input", "gradient", "overlay", "second", "channels"}
    assert set(result.tensors) == {"gradient", "noise"}
    assert [row["index"] for row in result.tables["classes"]] == [0, 1]
    assert result.report.provenance["params"]["strength"] == 0.5
    assert result.report.scores.keys() == {"logit"}


def test_whatever_is_deprecated_says_since_when_until_when_and_what_to_do_instead() -> None:
    assert all(d.advice and d.since and d.gone for d in DEPRECATIONS)


def _technique(stall_seconds: float) -> Technique[Any]:
    return replace(find("frozen.refuses", [FROZEN]), stall_seconds=stall_seconds)


def test_what_is_deprecated_is_told_once_at_registration(caplog: pytest.LogCaptureFixture) -> None:
    loader = Loader(deprecations=[OLD])
    with caplog.at_level(logging.WARNING, logger="convscope.plugins"):
        loader.load_object("old", _technique(0.5))
        for _ in range(3):
            (report,) = loader.plugins.reports
    assert report.ok
    assert len(caplog.records) == 1
    (warning,) = report.warnings
    assert warning.startswith("technique 'frozen.refuses': stall_seconds below one is deprecated since convscope 0.3")
    assert warning.endswith("and gone in 0.6: leave it out")
    assert caplog.records[0].getMessage().endswith(report.warnings[0])


def test_what_is_not_deprecated_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    loader = Loader(deprecations=[OLD])
    loader.load_object("new", _technique(5.0))
    assert loader.plugins.reports[0].warnings == ()
    assert caplog.records == []
