"""The kit as `pytest --pyargs convscope_sdk.conformance`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.plugin_files import BRIGHTNESS, brightness_file, installed


def run_kit(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Pytest in a process of its own, which finds the kit's options as after an installation."""
    entry_points = "[pytest11]\nconvscope = convscope_sdk.pytest_plugin\n"
    found = installed(folder / "site", name="convscope-kit", entry_points=entry_points)
    path = os.pathsep.join([str(found), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "--pyargs",
            "convscope_sdk.conformance",
            *words,
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
    )


@pytest.mark.slow
def test_a_good_technique_of_a_file_passes(tmp_path: Path) -> None:
    done = run_kit(tmp_path, "--technique", "acme.brightness", "--plugin", str(brightness_file(tmp_path)))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "20 passed" in done.stdout


@pytest.mark.slow
def test_a_bad_one_fails_with_the_reason_and_an_expected_failure_does_not(tmp_path: Path) -> None:
    worse = BRIGHTNESS.replace("Progress(1, 1)", "Progress(1, 2)")
    worse = worse.replace("torch.rand_like(values)", "next(COUNT)").replace(
        "class Bright", "COUNT = iter(range(99))\n\n\nclass Bright"
    )
    expected = ("--expect", "check_progress_is_monotone=later", "--technique-param", "noise=0.5")
    done = run_kit(
        tmp_path, "--technique", "acme.brightness", "--plugin", str(brightness_file(tmp_path, worse)), *expected
    )
    assert done.returncode == 1
    assert "1 xfailed" in done.stdout
    assert "Why it matters: A result that nobody can repeat" in done.stdout
