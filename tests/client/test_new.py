from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from convscope.cli import exits
from convscope.cli.app import build


def test_a_new_package_is_listed_with_what_comes_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(build(), ["new", "edges", "--author", "Ada"])
    assert done.exit_code == 0, done.output
    listed = done.stdout.partition("\n\n")[0].splitlines()
    assert all(Path(line).is_file() for line in listed)
    assert len(listed) == 8
    assert "convscope check edges.sensitivity" in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [(("Edge Maps",), "did you mean 'edge-maps'"), (("edges", "--into", "no/where"), "make it first")],
)
def test_what_cannot_be_made_is_wrong_usage(tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    done = CliRunner().invoke(build(), ["new", *words])
    assert done.exit_code == exits.USAGE
    assert message in " ".join(done.stderr.replace("│", " ").split())


def test_a_package_is_never_written_twice(tmp_path: Path) -> None:
    words = ["new", "edges", "--into", str(tmp_path)]
    assert CliRunner().invoke(build(), words).exit_code == 0
    done = CliRunner().invoke(build(), words)
    assert done.exit_code == exits.USAGE
    assert "nothing is overwritten" in " ".join(done.stderr.replace("│", " ").split())
