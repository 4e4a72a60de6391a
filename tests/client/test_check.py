from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from convscope.cli import exits
from convscope.cli.app import build
from support.plugin_files import BRIGHTNESS, brightness_file


def check(*words: str) -> Result:
    return CliRunner().invoke(build(), ("check", *words))


def test_a_good_technique_of_a_file_passes_with_a_line_for_each_check(tmp_path: Path) -> None:
    done = check("acme.brightness", "--plugin", str(brightness_file(tmp_path)))
    assert done.exit_code == 0, done.output
    assert "same seed same pixels\tpassed\t-" in done.stdout
    assert "acme.brightness: 20 passed" in done.stdout


def test_a_failure_says_what_was_seen_and_why_it_matters(tmp_path: Path) -> None:
    file = str(brightness_file(tmp_path, BRIGHTNESS.replace("Progress(1, 1)", "Progress(1, 2)")))
    done = check("acme.brightness", "--plugin", file)
    assert done.exit_code == exits.FAILED
    assert "check_progress_is_monotone: the last step is 1, and the total was said to be 2" in done.stdout
    assert "Why it matters: Bars" in done.stdout
    expected = check("acme.brightness", "--plugin", file, "--expect", "check_progress_is_monotone=later", "--json")
    assert expected.exit_code == 0
    states = {outcome["check"]: outcome["state"] for outcome in json.loads(expected.stdout)}
    assert states["check_progress_is_monotone"] == "expected"
    undeclared = {"check_batched_runs_equal_single_ones", "check_goes_on_where_it_was_put_down"}
    assert {name for name, state in states.items() if state == "skipped"} == undeclared
    assert set(states.values()) == {"passed", "expected", "skipped"}


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("acme.brightnes",), exits.NOT_FOUND, "did you mean 'acme.brightness'"),
        (("acme.brightness", "--expect", "check_nothing=x"), exits.NOT_FOUND, "no check 'check_nothing'"),
        (("acme.brightness", "-p", "noise=7"), exits.USAGE, "params.noise"),
        (("acme.brightness", "-p", "noise"), exits.USAGE, "write -p KEY=VALUE"),
    ],
)
def test_wrong_usage_is_explained(tmp_path: Path, words: tuple[str, ...], code: int, message: str) -> None:
    done = check(*words, "--plugin", str(brightness_file(tmp_path)))
    assert (done.exit_code, message in done.stderr) == (code, True), done.output


def test_a_plugin_file_that_cannot_be_loaded_is_told_with_its_reason(tmp_path: Path) -> None:
    done = check("acme.brightness", "--plugin", str(brightness_file(tmp_path, "import no_such_library_")))
    assert done.exit_code == exits.USAGE
    assert "no_such_library_" in done.stderr


def test_parameters_keep_runs_short(tmp_path: Path) -> None:
    slow = BRIGHTNESS.replace("Progress(1, 1)\n", "Progress(1, 1)\n    assert run.params.noise in (0.1, 0.5)\n")
    done = check("acme.brightness", "--plugin", str(brightness_file(tmp_path, slow)), "-p", "noise=0.5")
    assert done.exit_code == 0, done.output
