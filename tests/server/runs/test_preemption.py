"""Runs that give way to more urgent ones."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from convscope_server.runs.events import (
    Checkpointed,
    Queued,
    Started,
)
from support.aio import eventually, in_loop
from support.run_house import request, run_service
from support.steered import DONE, SHORT, begun, engine_of, told


@pytest.mark.parametrize(
    ("here", "comes", "gives_way"),
    [
        ({"priority": "batch"}, {"owner": "bob"}, True),
        ({"priority": "batch"}, {"priority": "interactive"}, True),
        ({}, {"priority": "interactive"}, True),
        ({}, {"priority": "interactive", "owner": "bob"}, False),
        ({"priority": "batch"}, {"priority": "batch", "owner": "bob"}, False),
        ({"priority": "batch", "technique": SHORT}, {}, False),
    ],
)
@in_loop
async def test_a_run_gives_way_to_a_more_urgent_one(
    *, here: dict[str, Any], comes: dict[str, Any], gives_way: bool
) -> None:
    engine = engine_of()
    async with run_service(engine) as service:
        first = await begun(service, engine, owner="ada", **here)
        engine.emit(first.id, Checkpointed(7, "key"))
        urgent = await service.submit(request(**{"technique": SHORT, "owner": "ada", **comes}))
        if not gives_way:
            await asyncio.sleep(0.02)
            assert list(engine.runs) == [first.id]
            return
        await eventually(lambda: urgent.id in engine.runs)
        assert isinstance((await told(service, first.id))[-1], Queued)
        assert (await service.get(first.id)).state == "queued"
        engine.emit(urgent.id, Started("cpu"), DONE)
        await eventually(lambda: first.id in engine.runs)
        assert engine.started[-1].checkpoint == "key"
