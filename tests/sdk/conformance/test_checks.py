"""Each check finds what it is for, and finds nothing where nothing is."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from convscope_sdk.conformance import CHECKS, Subject, conformance, name_of, reason_of, run_checks, run_one
from convscope_sdk.conformance.networks import CLASSIFIERS
from convscope_sdk.errors import UnknownName
from convscope_sdk.events import Event, Heatmap, Table
from convscope_sdk.run import Run
from convscope_sdk.technique import Technique, technique
from support.bad_techniques import BAD, Good, good

NAMED = {name_of(check): check for check in CHECKS}
CASES = [(name, make()) for name, made in BAD.items() for make in made]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAD_PLACE", str(tmp_path))
    monkeypatch.setenv("BAD_MARK", "nobody's")
    monkeypatch.syspath_prepend(str(tmp_path))


def test_a_good_technique_passes_every_check() -> None:
    outcomes = list(run_checks(Subject(good), CHECKS))
    assert [(o.check, o.detail) for o in outcomes if o.state != "passed"] == []


def test_there_is_a_bad_technique_for_every_check() -> None:
    assert BAD.keys() == NAMED.keys()


@pytest.mark.parametrize(("check", "bad"), CASES, ids=lambda value: getattr(value, "id", value))
def test_a_check_fails_on_a_technique_that_breaks_its_rule(check: str, bad: Technique[object]) -> None:
    outcome = run_one(NAMED[check], Subject(bad))
    assert outcome.state == "failed"
    assert not outcome.ok
    assert "Error:" not in outcome.detail.split(";")[0] or check in {
        "check_survives_odd_pictures",
        "check_needs_are_honest",
        "check_runs_with_defaults",
    }


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
def test_a_check_says_in_one_paragraph_why_it_is_made(check: object) -> None:
    reason = reason_of(check)  # type: ignore[arg-type]  # a function
    assert reason.endswith(".")
    assert 40 < len(reason) < 250


def test_an_expected_failure_is_reported_with_its_reason() -> None:
    name = "check_progress_is_monotone"
    (outcome,) = run_checks(Subject(BAD[name][0]()), [NAMED[name]], {name: "known since Monday"})
    assert (outcome.state, outcome.ok) == ("expected", True)
    assert outcome.detail.startswith("known since Monday (")


def test_an_expected_failure_that_does_not_come_is_a_failure() -> None:
    name = "check_progress_is_monotone"
    (outcome,) = run_checks(Subject(good), [NAMED[name]], {name: "known since Monday"})
    assert outcome.state == "failed"
    assert "take the expectation away" in outcome.detail


def test_an_expectation_of_no_check_is_refused_with_near_names() -> None:
    with pytest.raises(UnknownName, match="did you mean 'check_same_seed_same_pixels'"):
        list(run_checks(Subject(good), CHECKS, {"check_same_seed_same_pixel": "?"}))
    with pytest.raises(UnknownName, match="did you mean 'check_same_seed_same_pixels'"):
        conformance(good, expected_failures={"check_same_seed_same_pixel": "?"})


def test_what_an_imported_library_sets_is_not_held_against_the_technique(tmp_path: Path) -> None:
    (tmp_path / "loud_library.py").write_text("import os\nos.environ['LOUD'] = 'yes'\n")

    @technique("good.importer", needs={"image"})
    def importer(run: Run[Good]) -> Iterator[Event]:
        """Uses a library that sets what it likes."""
        importlib.import_module("loud_library")
        yield Heatmap("brightness", run.image.mean(1)[0])

    subject = Subject(importer)
    assert run_one(NAMED["check_keeps_no_global_state"], subject).state == "passed"
    assert "LOUD" not in os.environ
    assert "loud_library" in sys.modules
    del sys.modules["loud_library"]


def test_what_an_imported_library_writes_is_not_held_against_the_technique(tmp_path: Path) -> None:
    (tmp_path / "tidy_library.py").write_text(
        "import os\nos.mkdir(os.path.join(os.environ['BAD_PLACE'], 'settings'))\n"
    )

    @technique("good.importer", needs={"image"})
    def importer(run: Run[Good]) -> Iterator[Event]:
        """Uses a library that makes itself a folder."""
        importlib.import_module("tidy_library")
        yield Heatmap("brightness", run.image.mean(1)[0])

    assert run_one(NAMED["check_writes_nothing"], Subject(importer)).state == "passed"
    assert (tmp_path / "settings").is_dir()
    del sys.modules["tidy_library"]


@pytest.mark.parametrize(("need", "kind"), [("stylizer", "stylizer"), ("generator", "generator")])
def test_a_technique_for_another_kind_of_model_is_tried_on_one(need: str, kind: str) -> None:
    @technique("good.other", needs={need})
    def other(run: Run[Good]) -> Iterator[Event]:
        """Says what it looks at."""
        yield Table("kind", [{"kind": run.network.spec.kind}])

    subject = Subject(other)
    assert [event.rows for r in subject.finished for event in r.all(Table)] == [[{"kind": kind}]]
    assert [o.detail for o in run_checks(subject, CHECKS) if not o.ok] == []


def test_every_network_of_the_kit_is_seeded_and_new_each_time() -> None:
    for make in CLASSIFIERS.values():
        one, other = make(), make()
        assert one.module is not other.module
        assert one.digest == other.digest


test_conformance_of_a_good_technique = conformance(good)
