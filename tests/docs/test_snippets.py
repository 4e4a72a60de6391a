"""Every Python block of the README and the documentation runs, page by page, from top to bottom."""

from __future__ import annotations

import functools
import re
import subprocess
import sys
import types
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest

import convscope
import convscope.aio
from convscope.testing import ServerProcess
from support.snippets import Snippet, pages, snippets
from support.sources import ROOT

PAGES = [page for page in pages() if list(snippets(page, "python"))]
COMMANDS = sorted(
    {
        (" ".join(words), str(page.relative_to(ROOT)))
        for page in pages()
        for block in snippets(page, "console")
        for line in block.code.splitlines()
        if (words := line.removeprefix("$ ").split())[:1] == ["convscope"] and line.startswith("$ ")
    }
)


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with ServerProcess(tmp_path_factory.mktemp("data")) as server:
        yield server.address


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the photograph that the pages speak of."""
    (tmp_path / "cat.png").write_bytes((resources.files("skimage") / "data" / "chelsea.png").read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_python_of_a_page_runs(
    page: Path, desk: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = list(snippets(page, "python"))
    if any(snippet.needs == "server" for snippet in found):
        _lead_to(request.getfixturevalue("address"), monkeypatch)
    # Pydantic and pickle look for the module that a class was made in.
    module = types.ModuleType("page_of_the_docs")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for snippet in found:
        if snippet.title:
            (desk / snippet.title).parent.mkdir(parents=True, exist_ok=True)
            (desk / snippet.title).write_text(snippet.code, encoding="utf-8")
        exec(_compiled(snippet), module.__dict__)


def test_only_pages_that_say_so_connect_to_a_server() -> None:
    for page in PAGES:
        for snippet in snippets(page, "python"):
            assert ("connect(" in snippet.code) <= (snippet.needs == "server"), f"{page}:{snippet.line}"


@pytest.mark.parametrize(("command", "page"), COMMANDS, ids=lambda value: value)
def test_a_command_of_the_pages_exists_with_its_flags(command: str, page: str) -> None:
    name, flags = command.split()[1], re.findall(r"(?<!\S)(--?[a-z][a-z-]*)", command)
    text = _help(name)
    if "Commands" in text:
        text = _help(name, command.split()[2])
    assert [flag for flag in flags if not re.search(rf"(?<![\w-]){flag}(?![\w-])", text)] == [], page


def _compiled(snippet: Snippet) -> types.CodeType:
    """The block as code whose lines are those of the page, so that a failure points there."""
    return compile("\n" * snippet.line + snippet.code, str(snippet.page), "exec", dont_inherit=True)


def _lead_to(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a page connects to, it is this server."""
    for module in (convscope, convscope.aio):
        connect = module.connect
        monkeypatch.setattr(module, "connect", functools.partial(_connected, connect, address))


def _connected(connect: object, address: str, _target: str, **options: object) -> object:
    assert callable(connect)
    for secret in ("token", "ca", "cert", "key"):  # this server asks nobody
        options.pop(secret, None)
    return connect(address, **options)


@functools.cache
def _help(*command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "convscope", *command, "--help"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
