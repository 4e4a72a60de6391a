"""What the gallery shows of each technique, read from plan.toml."""

from __future__ import annotations

import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["DEFAULT_MODEL", "Entry", "Shot", "read_plan"]

DEFAULT_MODEL = "efficientnet_lite0"
_FILE = Path(__file__).with_name("plan.toml")


@dataclass(frozen=True, slots=True)
class Shot:
    """One run of a technique, and which of its results are shown.

    Attributes:
        image: Name of a sample photograph; empty where the technique needs none.
        extra: Further sample photographs by role.
        show: Names of picture results; all but the input where empty.
        film: Whether the previews become an animation.
        caption: One line above the pictures.
    """

    image: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    model: str = DEFAULT_MODEL
    show: tuple[str, ...] = ()
    film: bool = False
    caption: str = ""

    def command(self, technique: str) -> str:
        """What a reader types for the same run."""
        words = ["convscope", "run", technique]
        words += [] if self.model == DEFAULT_MODEL else ["--model", self.model]
        words += ["--image", f"{self.image}.png"] if self.image else []
        words += [word for role, name in self.extra.items() for word in ("--extra", f"{role}={name}.png")]
        words += [word for name, value in self.params.items() for word in ("-p", f"{name}={_spelled(value)}")]
        return shlex.join(words)


@dataclass(frozen=True, slots=True)
class Entry:
    """One page of the gallery.

    Attributes:
        technique: Its id.
        title: What people call it.
        room: Heading that it stands under.
        formula: LaTeX, one line each.
        read: How to read the pictures; Markdown.
        runs: The runs that are shown.
    """

    technique: str
    title: str
    room: str
    formula: tuple[str, ...]
    read: str
    runs: tuple[Shot, ...]


def read_plan(path: Path = _FILE) -> dict[str, Entry]:
    """The pages by technique id, in the order of the gallery's index.

    Raises:
        TypeError: a key is missing or unknown.
    """
    plan = tomllib.loads(path.read_text(encoding="utf-8"))
    return {identifier: _entry(identifier, table) for identifier, table in plan.items()}


def _entry(identifier: str, table: dict[str, Any]) -> Entry:
    runs = tuple(Shot(**{**run, "show": tuple(run.get("show", ()))}) for run in table.pop("runs"))
    return Entry(identifier, formula=tuple(table.pop("formula")), runs=runs, **table)


def _spelled(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
