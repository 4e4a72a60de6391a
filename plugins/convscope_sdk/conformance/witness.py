"""What a step does to the world: files written, addresses called, processes started, settings changed.

Files and sockets are seen by an audit hook. Python cannot take one away again, so one is made for the whole
process, at the first look, and notes things down only while somebody watches.
"""

from __future__ import annotations

import inspect
import logging
import os
import signal
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

__all__ = ["Deeds", "settings", "watching"]

_WRITING_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_NETWORK = frozenset({"socket.connect", "socket.bind", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"})
_FILES = frozenset(
    {"sqlite3.connect", "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate"}
)
_PROCESSES = frozenset({"subprocess.Popen", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn"})
_PLAIN = (bool, int, float, complex, str, bytes, tuple, frozenset, type(None))


@dataclass(slots=True)
class Deeds:
    """What was done while somebody watched, once each, in words."""

    writes: list[str] = field(default_factory=list)
    network: list[str] = field(default_factory=list)
    processes: list[str] = field(default_factory=list)


class _Hook:
    """The process's one audit hook."""

    def __init__(self) -> None:
        self._installed = False
        self._deeds: Deeds | None = None
        self._allowed = ""
        self._busy = threading.local()

    def begin(self, deeds: Deeds, allowed: str) -> None:
        if not self._installed:
            sys.addaudithook(self._see)
            self._installed = True
        self._deeds, self._allowed = deeds, allowed

    def end(self) -> None:
        self._deeds = None

    def _see(self, event: str, args: tuple[Any, ...]) -> None:
        deeds = self._deeds
        if deeds is None or getattr(self._busy, "now", False):
            return
        self._busy.now = True
        try:
            self._note(deeds, event, args)
        finally:
            self._busy.now = False

    def _note(self, deeds: Deeds, event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            if _is_writing(args) and not self._may_write(args[0]) and not _importing():
                _once(deeds.writes, f"opened {args[0]!r} to write")
        elif event in _FILES or event.startswith("shutil."):
            path = _whole(args)
            if not self._may_write(path) and not _importing():
                _once(deeds.writes, f"{event}({path!r})")
        elif event in _NETWORK:
            _once(deeds.network, f"{event}{tuple(map(str, args[-1:]))}")
        elif event in _PROCESSES:
            _once(deeds.processes, f"{event}({args[0]!r})" if args else event)

    def _may_write(self, path: object) -> bool:
        """Python's own byte code, the null device, descriptors, and the run's own temporary folder."""
        if not isinstance(path, str | bytes | os.PathLike):
            return True
        text = os.fsdecode(os.fspath(path))
        return text == os.devnull or "__pycache__" in text or os.path.abspath(text).startswith(self._allowed)  # noqa: PTH100 - Path would audit


def _importing() -> bool:
    """Whether an import is under way: libraries make folders for their settings then, which is no technique's deed."""
    frame = inspect.currentframe()
    while frame is not None and not frame.f_code.co_filename.endswith("conformance/recording.py"):
        if frame.f_code.co_name == "_find_and_load" and "importlib" in frame.f_code.co_filename:
            return True
        frame = frame.f_back
    return False


_HOOK = _Hook()


@contextmanager
def watching() -> Iterator[Deeds]:
    """What this process does within it; `tempfile` leads to a folder of its own, where anything may be written."""
    deeds = Deeds()
    before = tempfile.tempdir
    with tempfile.TemporaryDirectory(prefix="convscope-check-") as folder:
        tempfile.tempdir = folder
        _HOOK.begin(deeds, str(Path(folder).absolute()))
        try:
            yield deeds
        finally:
            _HOOK.end()
            tempfile.tempdir = before


def settings(module: ModuleType | None) -> dict[str, Any]:
    """The settings of this process that no run may change, and what `module` keeps in variables, to be compared."""
    root = logging.getLogger()
    found: dict[str, Any] = {
        "os.environ": dict(os.environ),
        "working directory": os.getcwd(),  # noqa: PTH109 - the word itself
        "sys.path": list(sys.path),
        "sys.stdout and sys.stderr": (id(sys.stdout), id(sys.stderr)),
        "recursion limit": sys.getrecursionlimit(),
        "warning filters": list(warnings.filters),
        "NumPy's error modes": np.geterr(),
        "root logger": (root.level, len(root.handlers), logging.root.manager.disable),
        "threads": sorted(t.name for t in threading.enumerate() if not t.daemon),
    }
    if threading.current_thread() is threading.main_thread():
        found["signal handlers"] = {number: signal.getsignal(number) for number in signal.valid_signals()}
    for name, value in _variables(module).items():
        found[f"module variable {name}"] = value
    return found


def _variables(module: ModuleType | None) -> Mapping[str, Any]:
    """Values of plain variables, copies of lists, dictionaries and sets."""
    kept: dict[str, Any] = {}
    for name, value in vars(module).items() if module is not None else ():
        if name.startswith("__"):
            continue
        if isinstance(value, list | dict | set):
            kept[name] = value.copy()
        elif isinstance(value, _PLAIN):
            kept[name] = value
    return kept


def _whole(args: tuple[Any, ...]) -> object:
    """The path that an event names; where it is relative to an open folder (shutil's way), that folder's with it."""
    path, folder = args[0], args[-1]
    if isinstance(path, str) and isinstance(folder, int) and folder >= 0:
        with suppress(OSError):
            return str(Path(os.readlink(f"/proc/self/fd/{folder}")) / path)  # noqa: PTH115 - no Path to a descriptor
    return path


def _is_writing(args: tuple[Any, ...]) -> bool:
    mode, flags = args[1], args[2]
    if isinstance(mode, str):
        return any(letter in mode for letter in "wax+")
    return isinstance(flags, int) and bool(flags & _WRITING_FLAGS)


def _once(words: list[str], word: str) -> None:
    if word not in words:
        words.append(word)
