"""What the installed plugins offer, remembered between calls: a listing need not import them again.

What is remembered belongs to one state of the installation: its distributions, the plugins' entry points and source
files, and the settings in the environment. Another state has another file.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.machinery
import importlib.metadata
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from convscope.catalog import PluginInfo, TechniqueInfo

__all__ = ["Inventory", "fingerprint", "forget", "recall", "remember"]

_GROUP = re.compile(r"convscope\.v\d+")
_KEPT = 8
_SETS = "needs", "steers"


@dataclass(frozen=True, slots=True)
class Inventory:
    """Techniques and plugins of an installation, in the order of the catalog."""

    techniques: tuple[TechniqueInfo, ...]
    plugins: tuple[PluginInfo, ...]


def fingerprint() -> str:
    """The state of the installation, in hexadecimal; nothing is imported to find it."""
    importlib.invalidate_caches()
    sha = hashlib.sha256(repr((sys.version, sys.prefix, _settings())).encode())
    for line in _distributions():
        sha.update(line.encode())
    for entry_point in _entry_points():
        root = entry_point.value.partition(":")[0].partition(".")[0]
        sha.update(f"{entry_point.group} {entry_point.name} {entry_point.value}\n".encode())
        for line in _sources(root):
            sha.update(line.encode())
    return sha.hexdigest()


def recall(state: str) -> Inventory | None:
    """What was remembered of that state of the installation; None where it is unknown or cannot be read."""
    try:
        found = json.loads(_place(state).read_text(encoding="utf-8"))
        techniques = (_technique(facts) for facts in found["techniques"])
        plugins = (PluginInfo(**{**p, "techniques": tuple(p["techniques"])}) for p in found["plugins"])
        return Inventory(tuple(techniques), tuple(plugins))
    except (OSError, ValueError, TypeError, KeyError):  # absent, half written, or of another version
        return None


def _technique(facts: dict[str, Any]) -> TechniqueInfo:
    return TechniqueInfo(**{**facts, **{name: frozenset(facts[name]) for name in _SETS}})


def remember(state: str, inventory: Inventory) -> None:
    """Keep it for the next call; where nothing can be written, the next call imports again."""
    techniques = [{**asdict(t), **{name: sorted(getattr(t, name)) for name in _SETS}} for t in inventory.techniques]
    text = json.dumps({"techniques": techniques, "plugins": [asdict(p) for p in inventory.plugins]})
    place = _place(state)
    with suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=place.parent, suffix=".new", delete=False) as file:
            file.write(text)
        Path(file.name).replace(place)
        forget(_KEPT)


def forget(kept: int) -> None:
    """Remove all but the newest so many."""
    old = sorted(_folder().glob("*.json"), key=lambda path: path.stat().st_mtime_ns, reverse=True)[kept:]
    for path in old:
        path.unlink(missing_ok=True)


def _folder() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "convscope" / "inventory"


def _place(state: str) -> Path:
    return _folder() / f"{state[:32]}.json"


def _settings() -> list[tuple[str, str]]:
    """Which plugins are allowed, and the like."""
    return sorted((key, value) for key, value in os.environ.items() if key.startswith("CONVSCOPE_"))


def _distributions() -> Iterator[str]:
    """Everything installed, by the names of the folders that say so, which name versions too."""
    for folder in sys.path:
        with suppress(OSError):
            for entry in sorted(os.scandir(folder or "."), key=lambda entry: entry.name):
                if entry.name.endswith((".dist-info", ".egg-info", ".pth")):
                    yield f"{folder}/{entry.name} {entry.stat().st_mtime_ns}\n"


def _entry_points() -> list[importlib.metadata.EntryPoint]:
    found = importlib.metadata.entry_points()
    groups = [group for group in sorted(found.groups) if _GROUP.fullmatch(group)]
    return [entry_point for group in groups for entry_point in found.select(group=group)]


def _sources(root: str) -> Iterator[str]:
    """The source files of a top-level module or package, each with its time and size."""
    spec = importlib.machinery.PathFinder.find_spec(root)
    if spec is None:
        return
    places = list(spec.submodule_search_locations or ())
    if not places and spec.origin:
        yield _stamp(spec.origin)
    for place in places:
        for folder, folders, files in os.walk(place):
            folders[:] = sorted(name for name in folders if name != "__pycache__")
            for name in sorted(files):
                if name.endswith(".py"):
                    yield _stamp(os.path.join(folder, name))  # noqa: PTH118 - in hundreds, Path objects cost more


def _stamp(path: str) -> str:
    with suppress(OSError):
        found = os.stat(path)  # noqa: PTH116 - likewise
        return f"{path} {found.st_mtime_ns} {found.st_size}\n"
    return f"{path}\n"
