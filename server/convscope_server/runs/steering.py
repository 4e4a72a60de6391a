"""Runs that are paused, resumed, and changed on the way."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from convscope_server.engine.between_steps import MOVED
from convscope_server.engine.engine import Engine
from convscope_server.errors import RequestError
from convscope_server.runs.events import Updated
from convscope_server.runs.live import LiveRun
from convscope_server.runs.live_runs import LiveRuns
from convscope_server.runs.run import RunRecord
from convscope_server.runs.store import RunStore

__all__ = ["Steering"]

_TRIES = 3


class Steering:
    """What may happen to a run between its steps. Where `owner` is given, other principals' runs are not found.

    Args:
        store: Where runs are kept.
        engine: Where they are made.
        live: Those that have not ended.
        find: Gives the one of an id and owner, or None.
    """

    def __init__(
        self,
        store: RunStore,
        engine: Engine,
        live: LiveRuns,
        find: Callable[[str, str | None], Awaitable[LiveRun | None]],
    ) -> None:
        self._store = store
        self._engine = engine
        self._live = live
        self._find = find

    async def pause(self, run: str, *, owner: str | None = None) -> RunRecord:
        """Take a run off its device at its next step, or out of the queue; see PauseRun.

        Raises:
            RequestError: NOT_FOUND, RUN_NOT_FOUND; FAILED_PRECONDITION, RUN_NOT_RESUMABLE or RUN_SHARED.
        """
        live = await self._find(run, owner)
        if live is not None and not (live.ending or live.paused or live.pausing or live.cancelling):
            self._check_alone(live)
            if live.on_engine and not self._engine.catalog.is_resumable(live.request.technique):
                raise _not_resumable(live)
            self._live.pause(live)
        return await self._stored(run, live, owner)

    async def resume(self, run: str, *, owner: str | None = None) -> RunRecord:
        """Let a paused run wait for a device again; see ResumeRun.

        Raises:
            RequestError: NOT_FOUND, RUN_NOT_FOUND.
        """
        live = await self._find(run, owner)
        if live is not None and not live.ending:
            self._live.resume(live)
        return await self._stored(run, live, owner)

    async def update(self, run: str, params: Mapping[str, Any], *, owner: str | None = None) -> RunRecord:
        """Change parameters of a run at its next step; see UpdateRun.

        Raises:
            RequestError: NOT_FOUND, RUN_NOT_FOUND; INVALID_ARGUMENT where the technique refuses them;
                FAILED_PRECONDITION, RUN_ENDED or RUN_SHARED; UNAVAILABLE, RUN_MOVED.
        """
        for _ in range(_TRIES):  # it may begin, or leave its device, in the middle
            live = await self._find(run, owner)
            if live is None or live.ending or live.cancelling:
                await self._store.get(run, owner=owner)
                raise _ended(run)
            self._check_alone(live)
            self._live.sharing.part(live)  # whoever joined it before the change holds would get what it did not ask for
            try:
                changed = await (self._changed_at_work if live.on_engine else self._changed_at_rest)(live, params)
            except RequestError as refusal:
                if refusal.error.code != MOVED.code:
                    raise
                continue  # it has left its worker, or the worker is lost
            if changed:
                return await self._stored(run, live, owner)
        raise RequestError(MOVED)

    async def _changed_at_work(self, live: LiveRun, params: Mapping[str, Any]) -> bool:
        await self._engine.steer(self._live.sharing.engine_run(live), params)
        return True

    async def _changed_at_rest(self, live: LiveRun, params: Mapping[str, Any]) -> bool:
        wanted = {**live.request.params}
        for update in live.request.updates:
            wanted |= update.params
        await self._engine.check_params(live.request.technique, {**wanted, **params})
        if live.on_engine or live.ending or live.cancelling:
            return False
        step = 0 if live.checkpoint is None else live.checkpoint.step
        self._live.update(live, Updated(step, dict(params)))
        return True

    def _check_alone(self, live: LiveRun) -> None:
        if self._live.sharing.is_shared(live):
            raise RequestError.of(
                "FAILED_PRECONDITION",
                "RUN_SHARED",
                f"run {live.id} is made together with identical ones, for which it must stay as it is; submit it with "
                f"cache=bypass to have it alone",
                metadata={"run": live.id},
            )

    async def _stored(self, run: str, live: LiveRun | None, owner: str | None) -> RunRecord:
        """The run with all that has happened to it by now."""
        if live is not None:
            await live.appender.settled()
        return await self._store.get(run, owner=owner)


def _not_resumable(live: LiveRun) -> RequestError:
    return RequestError.of(
        "FAILED_PRECONDITION",
        "RUN_NOT_RESUMABLE",
        f"technique {live.request.technique} keeps no checkpoints, so its run cannot leave the device before it ends; "
        f"wait for its end, or cancel it",
        metadata={"run": live.id, "technique": live.request.technique},
    )


def _ended(run: str) -> RequestError:
    message = f"run {run} has ended, and cannot be changed; submit it anew with other parameters"
    return RequestError.of("FAILED_PRECONDITION", "RUN_ENDED", message, metadata={"run": run})
