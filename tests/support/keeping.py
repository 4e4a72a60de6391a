"""A store in use, its clock in hand, and beside it what a careful clerk would say must be there."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from convscope_sdk.image_sets.parts import META, note_use, set_digest
from convscope_server.images.content import ContentStore, Upload, digest_of
from convscope_server.images.set_store import UploadedSet
from convscope_server.runs.events import Accepted, Event, Queued, Report, Result, Started, Succeeded
from convscope_server.runs.run import LoggedEvent, RunRecord
from convscope_server.storage.archive import Archive
from convscope_server.storage.limits import KeepLimits
from support.fake_engine import artifact
from support.run_house import request

__all__ = ["INDEX_BYTES", "KeptRun", "KeptStore", "absent"]

INDEX_BYTES = 5000
"""What a part of an index takes."""


def absent(content: ContentStore, digests: Iterable[str]) -> list[str]:
    """Those of the blobs that are not here, in their order; unlike a client who asks, this takes no lease."""
    return [digest for digest in digests if not content._blobs.exists(content._blobs.path(digest))]


@dataclass(slots=True)
class KeptRun:
    """A run as the clerk knows it."""

    id: str
    digests: set[str]
    sets: dict[str, str] = field(default_factory=dict)
    sequence: int = 2
    end: float | None = None


class KeptStore:
    """An archive in a folder. Every step does what the services do, in their order.

    Attributes:
        now: Unix time.
        runs: Those that are there.
        sets: Digests that each image set is made of, its manifest last.
        leases: Until when each blob is kept because somebody sent it or found it here.
        seen: When each blob came or was last asked for.
        blobs: Every blob there ever was.
        indexes: The directory of indexes of image sets.
    """

    def __init__(self, folder: Path, limits: KeepLimits, database: str = "") -> None:
        self.now = 1_000_000.0
        url = database or f"sqlite:///{folder / 'runs.db'}"
        self.indexes = folder / "index"
        self.archive = Archive.at(url, str(folder / "content"), limits, clock=lambda: self.now, index_dir=self.indexes)
        self.limits = limits
        self.runs: dict[str, KeptRun] = {}
        self.sets: dict[str, list[str]] = {}
        self.leases: dict[str, float] = {}
        self.seen: dict[str, float] = {}
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, set[str]] = {}
        self.uploads: list[tuple[Upload, bytes]] = []

    @classmethod
    @asynccontextmanager
    async def opened(cls, folder: Path, limits: KeepLimits, database: str = "") -> AsyncIterator[KeptStore]:
        """Opened, and closed at the end."""
        kept = cls(folder, limits, database)
        kept.archive.runs.open()
        kept.archive.image_sets.open()
        try:
            yield kept
        finally:
            kept.archive.runs.close()
            kept.archive.image_sets.close()

    @property
    def content(self) -> ContentStore:
        """Where blobs are."""
        return self.archive.content

    async def send(self, data: bytes) -> str:
        """A client sends a blob."""
        digest = await self.content.put(data)
        self.blobs[digest] = data
        self._seen([digest])
        return digest

    async def find(self, digest: str) -> None:
        """A client asks whether it is here."""
        if not await self.content.missing([digest]):
            self._seen([digest])

    async def begin_upload(self, data: bytes) -> None:
        """A client sends half of a blob."""
        upload = self.content.upload(digest_of(data))
        await upload.write(data[: len(data) // 2])
        self.uploads.append((upload, data))

    async def end_uploads(self) -> list[str]:
        """All clients send their other half; gives what is here then."""
        digests = []
        for upload, data in self.uploads:
            await upload.write(data[len(data) // 2 :])
            digests.append(await upload.commit())
            self.blobs[digests[-1]] = data
            await upload.__aexit__(None, None, None)
        self._seen(digests)
        self.uploads = []
        return digests

    async def submit(self, inputs: Iterable[bytes] = (), sets: Iterable[str] = (), **params: Any) -> KeptRun:
        """A run of these pictures and of those of the image sets that are there."""
        digests = [await self.send(data) for data in inputs]
        manifests = {name: self.sets[name][-1] for name in sets if name in self.sets}
        asked = request(
            extra_images={str(i): digest for i, digest in enumerate(digests)},
            image_sets=manifests,
            params=params,
            request_id=uuid4().hex,
        )
        run = KeptRun(uuid4().hex, {*digests, *manifests.values()}, manifests)
        record = RunRecord(run.id, "queued", asked, self.now, last_sequence=2)
        await self.archive.runs.insert(record, self._logged(run.id, 1, Accepted("x"), Queued(0)))
        self._used(run.digests)
        self.runs[run.id] = run
        return run

    async def result(self, run: KeptRun, data: bytes) -> None:
        """A live run makes something large."""
        digest = await self.send(data)
        made = artifact("map", data)
        made = type(made)(made.name, made.kind, made.media_type, None, digest, len(data))
        await self._append(run, Result(made))
        run.digests.add(digest)
        self._used([digest])

    async def end(self, run: KeptRun) -> None:
        """A live run ends."""
        await self._append(run, Started("cpu"), Succeeded(Report()))
        run.end = self.now

    async def make_set(self, name: str, pictures: Iterable[bytes]) -> None:
        """A client makes an image set, in the place of one of its name."""
        members = [await self.send(data) for data in dict.fromkeys(pictures)]
        manifest = json.dumps({"members": [{"name": f"{i}.png", "digest": d} for i, d in enumerate(members)]}).encode()
        digest = await self.send(manifest)
        self.manifests[digest] = {*members, digest}
        new = UploadedSet(name, digest, len(members), 1, self.now)
        left = await self.archive.image_sets.put(new, members)
        self._used({*members, digest})
        self.sets[name] = [*members, digest]
        await self.content.drop(left)

    async def delete_set(self, name: str) -> None:
        """A client forgets an image set."""
        self.sets.pop(name, None)
        await self.content.drop(await self.archive.image_sets.delete(name))

    def use_index(self, name: str, source: str = "uploaded") -> Path:
        """A worker uses the index of an image set, which it makes where there is none; gives where its part lies."""
        path = self.indexes / "network" / "layer" / set_digest(name.encode())
        path.mkdir(parents=True, exist_ok=True)
        (path / META).write_bytes(bytes(INDEX_BYTES))
        note_use(path, name, source)
        os.utime(path.with_suffix(".used"), (self.now, self.now))
        return path

    async def delete_run(self, run: KeptRun) -> None:
        """A client deletes an ended run."""
        del self.runs[run.id]
        await self.content.drop(await self.archive.runs.delete(run.id))

    def needed(self) -> set[str]:
        """What must be here: what runs and sets refer to, and the sets of live runs as they were."""
        live = [run for run in self.runs.values() if run.end is None]
        of_sets = {d for run in live for manifest in run.sets.values() for d in self.manifests[manifest]}
        by_runs = {d for run in self.runs.values() for d in run.digests}
        return by_runs | of_sets | {d for members in self.sets.values() for d in members}

    def leased(self) -> set[str]:
        """What somebody sent or found here, and has not used yet."""
        return {digest for digest, until in self.leases.items() if until > self.now}

    def of_runs(self) -> set[str]:
        """What runs refer to and no set does."""
        return {d for run in self.runs.values() for d in run.digests} - {d for s in self.sets.values() for d in s}

    def gone(self, digests: Iterable[str]) -> set[str]:
        """Those of the blobs that are not here."""
        return set(absent(self.content, digests))

    def _logged(self, run: str, first: int, *events: Event) -> list[LoggedEvent]:
        return [LoggedEvent(run, first + i, self.now, event) for i, event in enumerate(events)]

    async def _append(self, run: KeptRun, *events: Event) -> None:
        assert await self.archive.runs.append(run.id, self._logged(run.id, run.sequence + 1, *events))
        run.sequence += len(events)

    def _seen(self, digests: Iterable[str]) -> None:
        for digest in digests:
            self.leases[digest] = self.now + self.limits.upload_seconds
            self.seen[digest] = self.now

    def _used(self, digests: Iterable[str]) -> None:
        self.content.used(set(digests))
        for digest in digests:
            self.leases.pop(digest, None)
