"""The files that runs go on from, as the front end sees them: workers write them, and it removes them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

__all__ = ["CheckpointFiles"]


class CheckpointFiles:
    """Which checkpoint each live run has. What none has is removed.

    Args:
        directory: Where workers put them; None: nowhere that is known here.
    """

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._keys: dict[str, str] = {}

    async def sweep(self, keys: Mapping[str, str]) -> None:
        """Begin with these checkpoints, by run, and remove whatever else an earlier server left."""
        self._keys = dict(keys)
        if self._directory is not None:
            await asyncio.to_thread(_remove_others, self._directory, set(self._keys.values()))

    def kept(self, run: str, key: str) -> None:
        """A run goes on from this one from now on."""
        self._replace(self._keys.get(run), key, run)

    def dropped(self, run: str) -> None:
        """A run has ended."""
        self._replace(self._keys.pop(run, None), None, run)

    def _replace(self, old: str | None, new: str | None, run: str) -> None:
        if new is not None:
            self._keys[run] = new
        if old is not None and self._directory is not None and old not in self._keys.values():
            asyncio.get_running_loop().run_in_executor(None, _remove, self._directory / old)


def _remove_others(directory: Path, keys: set[str]) -> None:
    if directory.is_dir():
        for file in directory.iterdir():
            if file.name not in keys:
                _remove(file)


def _remove(file: Path) -> None:
    file.unlink(missing_ok=True)
