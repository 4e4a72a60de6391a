"""Finds what is being made, or has been made, for an identical request."""

from __future__ import annotations

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
        return head or await self._store.succeeded(identity)


def not_cached(identity: str) -> RequestError:
    """The refusal of a request that wants nothing but an earlier run's events."""
    why = "no run that is under way or kept has made it" if identity else "runs like it are never shared"
    message = f'{why}; ask with the cache policy "default" to have it computed'
    return RequestError.of("FAILED_PRECONDITION", "NOT_CACHED", message)
