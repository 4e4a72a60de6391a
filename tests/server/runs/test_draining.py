"""A server that shuts down: what runs, what waits, and what the next server takes up."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from convscope_server.errors import RequestError
from convscope_server.runs.events import Note, Report, Started, Succeeded
from support.aio import eventually, in_loop
from support.fake_engine import FakeEngine, steps
from support.run_house import end_of, request, run_service, watched

DONE = Succeeded(Report())


@in_loop
async def test_draining_refuses_new_runs_and_leaves_the_rest_to_the_next_server(tmp_path: Path) -> None:
    engine, url = FakeEngine(capacity=2), f"sqlite:///{tmp_path / 'runs.db'}"
    async with run_service(engine, url=url) as service:
        quick, endless, waiting = [await service.submit(request(seed=i)) for i in range(3)]
        await eventually(lambda: len(engine.runs) == 2)
        engine.capacity = 0
        draining = asyncio.create_task(service.drain(0.2))
        await asyncio.sleep(0)
        with pytest.raises(RequestError) as refusal:
            await service.submit(request())
        assert (refusal.value.error.code, refusal.value.error.reason) == ("UNAVAILABLE", "DRAINING")
        again = await service.submit(quick.request)
        assert again.id == quick.id
        engine.emit(quick.id, Started("cpu"), DONE)
        engine.emit(endless.id, Started("cpu"))
        await draining
        engine.emit(endless.id, Note("nobody listens any more"))
        assert await end_of(service, quick.id) == DONE
        assert engine.cancelled == []
    engine = FakeEngine(script=steps(1))
    async with run_service(engine, url=url) as service:
        for record in (endless, waiting):
            assert isinstance(await end_of(service, record.id), Succeeded)
        assert [(spec.seed, spec.attempt) for spec in engine.started] == [(1, 1), (2, 1)]
        assert Note("nobody listens any more") not in [item.event for item in await watched(service, endless.id)]


@in_loop
async def test_a_drained_run_can_still_be_cancelled() -> None:
    engine = FakeEngine()
    async with run_service(engine) as service:
        record = await service.submit(request())
        await eventually(lambda: record.id in engine.runs)
        await service.drain(0)
        assert (await service.cancel(record.id)).state == "cancelled"


@in_loop
async def test_draining_an_idle_server_takes_no_time() -> None:
    async with run_service(FakeEngine()) as service:
        async with asyncio.timeout(1):
            await service.drain()
