from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from PIL import Image
from typer.testing import CliRunner

from convscope import Prediction
from convscope.cli import demo, demo_page, exits
from convscope.cli.app import build
from convscope.cli.demo_page import Picture, Sheet
from convscope.testing import FakeServer, failed, image, preview, progress, succeeded

RED = Image.new("RGB", (16, 8), "red")
TECHNIQUES = ("filters", "activations", "saliency", "grad_cam", "occlusion", "deepdream")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> FakeServer:
    fake = FakeServer()
    report = succeeded(
        {"score": 0.5}, provenance={"params": {"target": "top1"}}, predictions=[(285, "Egyptian cat", 0.4)]
    )
    for name in TECHNIQUES:
        script = [progress(1, 1), preview(RED), image("input", RED), image(name, RED, caption="a <map>"), report]
        fake.add_technique(name, script, summary=f"What {name} shows.", cites="Someone 2013")

    @contextmanager
    def already_there() -> Iterator[str]:
        yield "here:1"

    monkeypatch.setattr(demo, "_server", already_there)
    monkeypatch.setattr(demo, "connect", lambda _: fake.client())
    return fake


def test_the_page_shows_every_technique_and_all_its_pictures_exist(server: FakeServer, tmp_path: Path) -> None:
    done = CliRunner().invoke(build(), ["demo", "--out", str(tmp_path / "page")])
    assert done.exit_code == 0, done.output
    html = (tmp_path / "page" / "index.html").read_text(encoding="utf-8")
    assert all(f'<section id="{name}">' in html for name in TECHNIQUES)
    sources = re.findall(r'src="([^"]+)"', html)
    assert len(sources) >= 2 * len(TECHNIQUES)
    for source in sources:
        with Image.open(tmp_path / "page" / unquote(source)) as picture:
            picture.load()
    assert "deepdream-coffee/film.webp" in sources
    assert "Someone 2013" in html
    assert "Egyptian cat" in html
    assert "convscope run grad_cam --image coffee.png" in html
    assert {request.technique for request in server.sent("Visualize")} == set(TECHNIQUES)


def test_a_run_that_fails_is_on_the_page_and_in_the_exit_code(server: FakeServer, tmp_path: Path) -> None:
    server.add_technique("occlusion", [failed("INTERNAL", "a <bug>")])
    done = CliRunner().invoke(build(), ["demo", "--out", str(tmp_path)])
    assert done.exit_code == exits.FAILED
    assert '<p class="error">a &lt;bug&gt;</p>' in (tmp_path / "index.html").read_text(encoding="utf-8")


def test_what_there_is_no_time_for_is_left_out(server: FakeServer, tmp_path: Path) -> None:
    server.add_technique("deepdream", [failed("DEADLINE_EXCEEDED", "out of time")])
    done = CliRunner().invoke(build(), ["demo", "--out", str(tmp_path), "--seconds", "30"])
    assert done.exit_code == 0
    assert "out of time: deepdream chelsea and what follows was left out" in done.stderr
    assert 'id="deepdream"' not in (tmp_path / "index.html").read_text(encoding="utf-8")
    assert all(0 < request.deadline.ToNanoseconds() <= 30e9 for request in server.sent("Visualize"))


class _Balance(HTMLParser):
    """Notes tags that are never closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag not in {"meta", "img"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_takes_nobodys_words_for_markup() -> None:
    evil = '<script>alert("x")</script>'
    sheet = Sheet(evil, evil, evil, evil, evil, 1.0, [Picture("a b/ü.png", evil)], {evil: evil}, {evil: 1.0})
    full = Sheet("x", "y", "z", "w", "v", predictions=[Prediction(1, evil, 0.5)], notes=[evil])
    html = demo_page.page([sheet, full, Sheet("x", "", "", "", "", error=evil)], model=evil, seconds=3)
    parser = _Balance()
    parser.feed(html)
    assert parser.open == []
    assert "<script" not in html
    assert 'src="a%20b/%C3%BC.png"' in html
    assert "http" not in html


def test_a_server_that_does_not_start_shows_the_end_of_its_log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CONVSCOPE_NO_SUCH_SETTING", "1")
    done = CliRunner().invoke(build(), ["demo", "--out", str(tmp_path)])
    assert done.exit_code == exits.UNREACHABLE
    assert "no such setting" in done.stderr
