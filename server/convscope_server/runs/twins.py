"""Finds what is being made, or has been made, for an identical request."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from convscope_server.engine.engine import Engine
from convscope_server.errors import RequestError
from convscope_server.runs.identity import identity
from convscope_server.runs.live import LiveRun
from convscope_server.runs.run import RunRecord, RunRequest
from convscope_server.runs.sharing import Sharing
from convscope_server.runs.store import RunStore

__all__ = ["Twin", "Twins", "not_cached"]

Twin = LiveRun | RunRecord
"""A run that another one can get its events from."""

_MAY_CHANGE = "folder"


class Twins:
    """Looks for twins.

    Args:
        engine: Whose catalog says which code and weights there are now.
        store: Where ended runs are.
        sharing: Who has what is being made.
        enabled: Whether there are any at all.
    """

    def __init__(self, engine: Engine, store: RunStore, sharing: Sharing, *, enabled: bool) -> None:
        self._engine = engine
        self._store = store
        self._sharing = sharing
        self._enabled = enabled
        self._parting: set[str] = set()

    async def identity(self, request: RunRequest) -> str:
        """What the request has in common with its twins; empty where it can have none."""
        if not self._enabled:
            return ""
        model = self._engine.catalog.models.get(request.model)
        if model is not None and model.source == _MAY_CHANGE:
            await self._engine.refresh_models()  # its files may have changed since anybody looked
        return identity(request, self._engine.catalog)

    async def find(self, request: RunRequest, identity: str) -> Twin | None:
        """The best twin there is, one that is under way before one that has ended."""
        if not identity or request.cache == "bypass":
            return None
        head = self._sharing.head_of(identity) if request.deadline_seconds is None else None
        if head is not None:
            return head
        ended = await self._store.succeeded(identity)
        return None if ended is None or ended.id in self._parting else ended

    @asynccontextmanager
    async def parting(self, run: str, submitted: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
        """Within it an ended run is nobody's twin, and may go.

        Args:
            run: Its id.
            submitted: Returns when runs that may have found it have begun.
        """
        self._parting.add(run)
        try:
            await submitted()
            await self._sharing.copied(run)
            yield
        finally:
            self._parting.discard(run)


def not_cached(identity: str) -> RequestError:
    """The refusal of a request that wants nothing but an earlier run's events."""
    why = "no run that is under way or kept has made it" if identity else "runs like it are never shared"
    message = f'{why}; ask with the cache policy "default" to have it computed'
    return RequestError.of("FAILED_PRECONDITION", "NOT_CACHED", message)
