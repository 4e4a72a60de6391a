"""The tutorial for plugin authors, command by command, as a newcomer types it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest

from support.environment import Environment
from support.snippets import Snippet, snippets
from support.sources import ROOT

PAGE = ROOT / "docs/tutorial/write-a-technique.md"


def _blocks() -> Iterator[Snippet]:
    """Commands and files in the order of the page."""
    found = [*snippets(PAGE, "console"), *snippets(PAGE, "python")]
    return iter(sorted(found, key=lambda snippet: snippet.line))


def _commands(block: Snippet) -> list[list[str]]:
    return [shlex.split(line.removeprefix("$ ")) for line in block.code.splitlines() if line.startswith("$ ")]


@pytest.mark.slow
@pytest.mark.timeout(900)  # many processes, each of which imports torch
def test_the_tutorial_leads_from_new_to_a_picture(tmp_path: Path) -> None:
    environment = Environment(tmp_path / "venv")
    (tmp_path / "cat.png").write_bytes((resources.files("skimage") / "data" / "chelsea.png").read_bytes())
    place, said = tmp_path, {}
    for block in _blocks():
        if block.language == "python":
            (tmp_path / block.title).write_text(block.code, encoding="utf-8")
            continue
        for words in _commands(block):
            if words[0] == "cd":
                place /= words[1]
            elif words[:2] != ["convscope", "serve"]:
                said[" ".join(words[:2])] = _typed(environment, words, place)
    for folder in ("first", "second"):
        assert (tmp_path / folder / "overlay.png").is_file()
    assert re.search(r"in_the_middle: 0\.\d+", said["convscope run"])
    assert "20 passed" in said["convscope check"]
    assert "22 passed" in said["pytest -q"]
    assert "convscope-edge-maps" in said["convscope plugins"]


def _typed(environment: Environment, words: list[str], place: Path) -> str:
    """What the command says in the environment; pip fetches nothing."""
    match words:
        case ["pip", "install", "-e", package]:
            environment.install(place / package, editable=True)
            return ""
        case ["pytest", *rest]:
            return environment.run("pytest", "-p", "no:cacheprovider", *rest, cwd=place)
        case ["convscope", *rest]:
            return environment.run("convscope", *rest, cwd=place)
    pytest.fail(f"{PAGE} has a command that nobody runs: {' '.join(words)}")
