"""The fenced code blocks of the documentation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from support.sources import ROOT

_FENCE = re.compile(
    r"^(?:<!-- needs: (?P<needs>\w+) -->\n)?^```(?P<info>[^\n`]+)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)
_TITLE = re.compile(r'title="([^"]+)"')


@dataclass(frozen=True, slots=True)
class Snippet:
    """One block: its language, where it is, and what it asks for."""

    page: Path
    line: int
    language: str
    title: str
    needs: str
    code: str


def pages() -> list[Path]:
    """The README and every page of the documentation."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def snippets(page: Path, language: str) -> Iterator[Snippet]:
    """The blocks of one language on a page, in order."""
    text = page.read_text(encoding="utf-8")
    for found in _FENCE.finditer(text):
        named = found["info"].split()[0]
        if named == language:
            title = _TITLE.search(found["info"])
            line = text.count("\n", 0, found.start("code"))
            yield Snippet(page, line, named, title[1] if title else "", found["needs"] or "", found["code"])
