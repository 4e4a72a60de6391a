"""The way of a waiting run onto the engine."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress

from convscope_server.engine.engine import Engine
from convscope_server.engine.messages import RunSpec
from convscope_server.errors import RequestError
from convscope_server.images.content import ContentStore
from convscope_server.runs.events import Error
from convscope_server.runs.live import LiveRun
from convscope_server.runs.positions import Pace
from convscope_server.runs.preemption import Preemption
from convscope_server.runs.queue import RunQueue

__all__ = ["Dispatcher"]

_LOOK_AGAIN = 2.0  # seconds
_PATIENCE = 30.0  # seconds that a run without memory lets others pass; then its device runs empty for it
_MOST_PASSED = 16
_log = logging.getLogger(__name__)

_UNTIL_ROOM = 1.0


class Dispatcher:
    """Starts waiting runs in their order whenever the engine has room, and fails those whose deadline passes first.

    Args:
        engine: Where runs go.
        content: Where their images are, read just before the start.
        queue: Says whose turn it is.
        fail: Ends a run that cannot be started.
        preemption: Makes room for the run whose turn it is.

    Attributes:
        pace: How fast runs start.
    """

    def __init__(
        self,
        engine: Engine,
        content: ContentStore,
        queue: RunQueue,
        fail: Callable[[LiveRun, Error], None],
        preemption: Preemption,
    ) -> None:
        self._engine = engine
        self._content = content
        self._fail = fail
        self._queue = queue
        self._preemption = preemption
        self._holding = False
        self.pace = Pace()
        self._wake = asyncio.Event()
        self._ready: dict[str, RunSpec] = {}  # the first run of each full lane, images in memory

    def __len__(self) -> int:
        return len(self._queue)

    def push(self, live: LiveRun, *, front: bool = False) -> None:
        """Let a run wait for its turn; `front`: before all others."""
        if front:
            self._queue.push_front(live)
        else:
            self._queue.push(live)
        self.watch_deadline(live)
        self.wake()

    def hold(self) -> None:
        """Start nothing any more."""
        self._holding = True

    def forget(self, live: LiveRun) -> None:
        """A waiting run has changed: what was prepared for its start is of no use."""
        self._ready.pop(live.id, None)

    def remove(self, live: LiveRun) -> bool:
        """Take a run out; False where it does not wait."""
        live.stop_deadline_timer()
        self._ready.pop(live.id, None)
        removed = self._queue.remove(live)
        if removed:
            self.wake()  # another one is the head now
        return removed

    def wake(self) -> None:
        """There may be room, or a run whose turn it is."""
        self._wake.set()

    async def serve(self) -> None:
        """Start runs until cancelled."""
        while True:
            with suppress(TimeoutError):  # a principal's device seconds of the last hour get fewer by themselves
                async with asyncio.timeout(_LOOK_AGAIN):
                    await self._wake.wait()
            self._wake.clear()
            full: set[str] = set()
            if len(self) and await self._content.room.is_full():
                asyncio.get_running_loop().call_later(_UNTIL_ROOM, self.wake)  # what starts now would only fail
                continue
            while (live := self._next(full)) is not None:
                spec = await self._prepared(live)
                if spec is None or self._next(full) is not live:
                    continue  # it failed, was cancelled or overtaken meanwhile
                self._ready[live.id] = spec
                if self._start(live, spec):
                    self._ready.pop(live.id, None)
                elif self._lets_others_pass(live, spec, full):
                    self._preemption.make_room_for(live)
                    full.add(live.id)
                else:
                    self._preemption.make_room_for(live)
                    full.add(self._engine.lane(live.request.technique))

    def _next(self, full: set[str]) -> LiveRun | None:
        """The run whose turn it is: the first whose lane is not full, and which has not been tried in vain."""
        if self._holding:
            return None
        return self._queue.first(
            lambda live: live.id not in full and self._engine.lane(live.request.technique) not in full
        )

    def _lets_others_pass(self, live: LiveRun, spec: RunSpec, tried: set[str]) -> bool:
        """Whether smaller runs may go before one that finds no memory: not for ever, and not before very many."""
        if not self._engine.waits_for_memory(spec):
            return False
        now = time.monotonic()
        live.short_since = now if live.short_since is None else live.short_since
        return now - live.short_since < _PATIENCE and len(tried) < _MOST_PASSED

    def _start(self, live: LiveRun, spec: RunSpec) -> bool:
        """Move the head to the engine, or end it where the engine breaks; False where there is no room."""
        self._queue.remove(live)
        live.stop_deadline_timer()
        live.attained = 0.0
        live.on_engine = True  # before the call: an engine may tell of events while it starts a run
        try:
            if self._engine.try_start(spec):
                live.short_since = None
                self.pace.started()
                return True
        except Exception as error:  # noqa: BLE001 - the engine's bug: it must not stop all other runs
            self._fail_broken(live, error)
            return True
        live.on_engine = False
        self._queue.put_back(live)
        self.watch_deadline(live)
        return False

    def _fail_broken(self, live: LiveRun, error: Exception) -> None:
        live.on_engine = False
        reference = f"start-{live.id}"
        _log.error("%s: the engine broke", reference, exc_info=error)
        message = f"the engine could not start the run; the server's log has the cause under {reference}"
        self._fail(live, Error("INTERNAL", message, "ENGINE_BROKEN", {"reference": reference}))

    async def _prepared(self, live: LiveRun) -> RunSpec | None:
        """What the engine needs; None where an image cannot be had, which ends the run."""
        if live.id in self._ready:
            return self._ready[live.id]
        try:
            images = {role: await self._content.get(digest) for role, digest in live.request.inputs.items()}
        except RequestError as refusal:
            error = refusal.error
        except OSError:  # the disk's, or the blob server's
            _log.exception("run %s: cannot read its images", live.id)
            message = "the server cannot read its content store now; try again later"
            error = Error("UNAVAILABLE", message, "CONTENT_UNREADABLE")
        else:
            return _spec(live, images)
        if self.remove(live):
            self._fail(live, error)
        return None

    def watch_deadline(self, live: LiveRun) -> None:
        """Fail a run that waits, or rests, until its deadline passes."""
        if live.deadline is not None:
            live.stop_deadline_timer()
            loop = asyncio.get_running_loop()
            live.deadline_timer = loop.call_later(live.deadline - time.time(), self._expire, live)

    def _expire(self, live: LiveRun) -> None:
        if self.remove(live) or live.paused:
            message = (
                f"the run waited {live.request.deadline_seconds:g} s for a device, its whole deadline; "
                "give it longer or try when the server is less busy"
            )
            self._fail(live, Error("DEADLINE_EXCEEDED", message, "DEADLINE_EXCEEDED"))


def _spec(live: LiveRun, images: dict[str, bytes]) -> RunSpec:
    request = live.request
    return RunSpec(
        id=live.id,
        technique=request.technique,
        model=request.model,
        params=request.params,
        seed=request.seed,
        image=images.pop("image", None),
        extra_images=images,
        input_digests={**request.inputs, **{f"image_set {n}": d for n, d in request.image_sets.items()}},
        image_sets=request.image_sets,
        media_types=request.media_types,
        previews=request.previews,
        deadline=live.deadline,
        attempt=live.attempt,
        owner=request.owner,
        priority=request.priority,
        thrift=live.thrift,
        updates=request.updates,
        checkpoint="" if live.checkpoint is None else live.checkpoint.key,
    )
