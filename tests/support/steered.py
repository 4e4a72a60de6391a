"""A run service with a technique that can be put down, and what tests of such runs ask of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from convscope_server.engine.engine import Catalog
from convscope_server.engine.messages import ModelInfo, TechniqueInfo
from convscope_server.errors import RequestError
from convscope_server.runs.events import (
    Checkpointed,
    Event,
    Report,
    Started,
    Succeeded,
)
from convscope_server.runs.run import LoggedEvent, RunRecord
from convscope_server.runs.service import RunService
from support.aio import eventually
from support.fake_engine import FakeEngine
from support.run_house import request

__all__ = ["CATALOG", "DONE", "LONG", "SHORT", "begun", "engine_of", "reason_of", "told", "until_kept"]

DONE = Succeeded(Report())
LONG, SHORT = "dream", "grad_cam"
CATALOG = Catalog(
    techniques={
        LONG: TechniqueInfo(LONG, "", "{}", resumable=True, steers=("step_size",), revision="1"),
        SHORT: TechniqueInfo(SHORT, "", "{}", revision="1"),
    },
    models={"tiny": ModelInfo("tiny", "classifier", "builtin", version="1")},
)


def engine_of(capacity: int = 1) -> FakeEngine:
    return FakeEngine(capacity=capacity, catalog=CATALOG)


async def begun(service: RunService, engine: FakeEngine, **changes: Any) -> RunRecord:
    record = await service.submit(request(**{"technique": LONG, **changes}))
    await eventually(lambda: record.id in engine.runs)
    engine.emit(record.id, Started("cpu"))
    return record


async def told(service: RunService, run: str) -> Sequence[Event]:
    """All that is in a run's log by now."""
    await service._live[run].appender.settled()
    last = (await service.get(run)).last_sequence
    items = []
    async for item in service.watch(run):
        assert isinstance(item, LoggedEvent)
        items.append(item.event)
        if item.sequence == last:
            break
    return items


async def until_kept(service: RunService, run: str) -> None:
    """Returns once a run's log has a checkpoint."""
    async for item in service.watch(run):
        if isinstance(item, LoggedEvent) and isinstance(item.event, Checkpointed):
            return


def reason_of(refusal: pytest.ExceptionInfo[RequestError]) -> str:
    return refusal.value.error.reason
