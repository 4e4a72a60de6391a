"""The files that runs go on from, as the front end sees them: workers write them, and it removes them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from convscope_server.runs.events import Checkpointed, Event
from convscope_server.runs.run import LoggedEvent

__all__ = ["CheckpointFiles"]


class CheckpointFiles:
    """Which checkpoint each live run has. What none has is removed.

    Args:
        directory: Where workers put them; None: nowhere that is known here.
    """

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._keys: dict[str, str] = {}
        self._lent: dict[str, str] = {}

    async def sweep(self, keys: Mapping[str, str]) -> None:
        """Begin with these checkpoints, by run, and remove whatever else an earlier server left."""
        self._keys = dict(keys)
        if self._directory is not None:
            await asyncio.to_thread(_remove_others, self._directory, set(self._keys.values()))

    def stored(self, run: str, entries: Iterable[LoggedEvent]) -> None:
        """A run's log has these entries by now: it goes on from the newest checkpoint among them."""
        for key in _keys(entry.event for entry in entries):
            old, self._keys[run] = self._keys.get(run), key
            if self._lent.get(run) == key:
                del self._lent[run]
            self._remove_unless_needed(old)

    def lent(self, run: str, checkpoint: Checkpointed | None) -> None:
        """A run goes on from another one's, which its own log may not have yet."""
        if checkpoint is not None and self._keys.get(run) != checkpoint.key:
            self._lent[run] = checkpoint.key

    def dropped(self, run: str) -> None:
        """A run has ended."""
        for key in (self._keys.pop(run, None), self._lent.pop(run, None)):
            self._remove_unless_needed(key)

    def lost(self, run: str, told: Iterable[Checkpointed | None]) -> None:
        """The worker of a run is dead, maybe since it wrote a checkpoint: what it had told nobody of by then goes.

        Args:
            run: The name by which the worker knew it, which its files have in front of the time they were written at.
            told: The newest checkpoint of each run that gets what it made.
        """
        if self._directory is not None:
            newest = max((kept.key for kept in told if kept is not None and kept.key.startswith(run)), default=run)
            until = f"{run}-{time.time_ns():x}"  # another worker may begin to write now
            asyncio.get_running_loop().run_in_executor(None, _remove_between, self._directory, newest, until)

    def unwanted(self, events: Iterable[Event]) -> None:
        """Nobody takes these events."""
        for key in _keys(events):
            self._remove_unless_needed(key)

    def _remove_unless_needed(self, key: str | None) -> None:
        needed = {*self._keys.values(), *self._lent.values()}
        if key is not None and self._directory is not None and key not in needed:
            asyncio.get_running_loop().run_in_executor(None, _remove, self._directory / Path(key).name)


def _keys(events: Iterable[Event]) -> Iterator[str]:
    return (event.key for event in events if isinstance(event, Checkpointed))


def _remove_others(directory: Path, keys: set[str]) -> None:
    if directory.is_dir():
        for file in directory.iterdir():
            if file.name not in keys:
                _remove(file)


def _remove_between(directory: Path, after: str, until: str) -> None:
    if directory.is_dir():
        for file in directory.iterdir():
            if after < file.name.removeprefix(".").removesuffix(".tmp") <= until:
                _remove(file)


def _remove(file: Path) -> None:
    file.unlink(missing_ok=True)
