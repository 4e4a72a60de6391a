"""A run service with a fake engine, and what tests ask of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from convscope_server.images.content import ContentStore
from convscope_server.runs.events import Event, is_terminal
from convscope_server.runs.limits import RunLimits
from convscope_server.runs.run import Gap, LoggedEvent, RunRequest
from convscope_server.runs.service import RunService
from convscope_server.runs.store import RunStore
from support import databases
from support.fake_engine import FakeEngine

__all__ = ["assert_whole_log", "end_of", "events_of", "kinds", "request", "run_service", "watched"]


@asynccontextmanager
async def run_service(
    engine: FakeEngine,
    *,
    url: str = "",
    store: RunStore | None = None,
    content: ContentStore | None = None,
    limits: RunLimits | None = None,
    checkpoints: Path | None = None,
) -> AsyncIterator[RunService]:
    """A started service, closed at the end."""
    content = content or ContentStore(f"memory://{uuid4().hex}")
    service = RunService(store or RunStore(url or databases.fresh()), content, engine, limits, checkpoints=checkpoints)
    await service.start()
    try:
        yield service
    finally:
        await service.close()


def request(**changes: Any) -> RunRequest:
    """A request, all fields but technique and model at their defaults unless changed."""
    return RunRequest(**{"technique": "grad_cam", "model": "tiny", **changes})


async def watched(service: RunService, run: str, **options: Any) -> list[LoggedEvent | Gap]:
    """All that a fast watcher gets, to the end."""
    return [item async for item in service.watch(run, **options)]


def kinds(items: list[LoggedEvent | Gap]) -> list[str]:
    """The names of what a watcher got: "Started", "Gap"."""
    return [type(item.event if isinstance(item, LoggedEvent) else item).__name__ for item in items]


def assert_whole_log(items: list[LoggedEvent | Gap], *, after: int = 0) -> None:
    """The items name each sequence after `after` once, in order, to one terminal event at the end."""
    expected = after + 1
    for item in items:
        first, last = (item.first, item.last) if isinstance(item, Gap) else (item.sequence, item.sequence)
        assert first == expected
        assert last >= first
        expected = last + 1
    events = [item.event for item in items if isinstance(item, LoggedEvent)]
    assert [is_terminal(event) for event in events] == [False] * (len(events) - 1) + [True]


async def end_of(service: RunService, run: str) -> object:
    """The terminal event of a run, whose log is whole."""
    items = await watched(service, run)
    assert_whole_log(items)
    assert isinstance(items[-1], LoggedEvent)
    return items[-1].event


async def events_of(service: RunService, run: str) -> list[Event]:
    """The events of a run to its end, of which a fast watcher misses none."""
    return [item.event for item in await watched(service, run) if isinstance(item, LoggedEvent)]
