"""Pictures of image sets that live runs look at: they stay, even where the set is deleted meanwhile."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Collection

from convscope_server.errors import RequestError
from convscope_server.images.content import ContentStore
from convscope_server.images.uploaded import parse_manifest
from convscope_server.runs.store import RunStore

__all__ = ["LiveSets"]

_REMEMBERED = 8


class LiveSets:
    """The blobs of the image sets of live runs.

    Args:
        store: Knows which runs are alive.
        content: Has the manifests.
    """

    def __init__(self, store: RunStore, content: ContentStore) -> None:
        self._store = store
        self._content = content
        self._members: OrderedDict[str, frozenset[str]] = OrderedDict()

    async def needed(self, digests: Collection[str]) -> set[str]:
        """Those of the blobs that a live run's image sets are made of."""
        wanted, found = set(digests), set()
        for record, _ in await self._store.alive():
            for manifest in record.request.image_sets.values():
                found |= wanted & await self._of(manifest)
        return found

    async def _of(self, manifest: str) -> frozenset[str]:
        if manifest not in self._members:
            try:
                parsed = await asyncio.to_thread(parse_manifest, await self._content.get(manifest))
            except RequestError:  # it is gone, so its pictures cannot be found any more
                return frozenset({manifest})
            self._members[manifest] = frozenset({manifest, *(member.digest for member in parsed.members)})
            if len(self._members) > _REMEMBERED:
                self._members.popitem(last=False)
        self._members.move_to_end(manifest)
        return self._members[manifest]
