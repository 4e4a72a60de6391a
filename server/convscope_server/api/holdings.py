"""Whose files are whose: a principal reaches what they sent, and what their runs refer to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from convscope_server.access.principal import acting
from convscope_server.images.content import content_not_found
from convscope_server.runs.quota import over_stored_bytes
from convscope_server.runs.store import RunStore

__all__ = ["Holdings"]


@dataclass(frozen=True, slots=True)
class Holdings:
    """What the principal who makes the call may name by digest. Admins reach everything."""

    store: RunStore
    most_bytes: int = 0

    async def check_room(self) -> None:
        """Lets through who may send more.

        Raises:
            RequestError: RESOURCE_EXHAUSTED, QUOTA_EXCEEDED: what is kept for them has reached `most_bytes`, if not 0.
        """
        scope = acting().scope
        if self.most_bytes and scope is not None:
            refusal = over_stored_bytes(await self.store.stored_bytes(scope), self.most_bytes)
            if refusal is not None:
                raise refusal

    async def add(self, digest: str, size_bytes: int) -> None:
        """It is (also) theirs from now on."""
        if acting().scope is not None:
            await self.store.hold(acting().name, digest, size_bytes)

    async def within_reach(self, digests: Iterable[str]) -> set[str]:
        """Those of `digests` that are theirs, whether or not they are here."""
        scope = acting().scope
        return set(digests) if scope is None else await self.store.held(scope, digests)

    async def check(self, digest: str) -> None:
        """Lets through what is theirs.

        Raises:
            RequestError: NOT_FOUND, CONTENT_NOT_FOUND, as where there is no such file.
        """
        if digest not in await self.within_reach([digest]):
            raise content_not_found(digest)
