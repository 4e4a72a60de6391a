"""Runs that are paused, resumed, and changed on the way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from convscope_server.errors import RequestError
from convscope_server.runs.run import RunRecord
from convscope_server.runs.store import RunStore

__all__ = ["Steering"]


class Steering:
    """What may happen to a run between its steps. Where `owner` is given, other principals' runs are not found."""

    def __init__(self, store: RunStore) -> None:
        self._store = store

    async def pause(self, run: str, *, owner: str | None = None) -> RunRecord:
        """Take a run off its device at its next step, or out of the queue; see PauseRun.

        Raises:
            RequestError: NOT_FOUND, RUN_NOT_FOUND; FAILED_PRECONDITION, RUN_NOT_RESUMABLE or RUN_SHARED.
        """
        await self._store.get(run, owner=owner)
        _not_yet()

    async def resume(self, run: str, *, owner: str | None = None) -> RunRecord:
        """Let a paused run wait for a device again; see ResumeRun.

        Raises:
            RequestError: NOT_FOUND, RUN_NOT_FOUND.
        """
        await self._store.get(run, owner=owner)
        _not_yet()

    async def update(self, run: str, params: Mapping[str, Any], *, owner: str | None = None) -> RunRecord:
        """Change parameters of a run at its next step; see UpdateRun.

        Raises:
            RequestError: NOT_FOUND, RUN_NOT_FOUND; INVALID_ARGUMENT where the technique refuses them;
                FAILED_PRECONDITION, RUN_ENDED, RUN_NOT_RESUMABLE or RUN_SHARED.
        """
        await self._store.get(run, owner=owner)
        _not_yet(params)


def _not_yet(*_arguments: object) -> NoReturn:
    raise RequestError.of("UNIMPLEMENTED", "NOT_YET", "this server cannot do it yet")
