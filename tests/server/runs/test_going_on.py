"""Runs that outlive their workers and servers: from a checkpoint where there is one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from convscope_server.engine.between_steps import Update
from convscope_server.images.content import ContentStore
from convscope_server.runs.events import (
    Checkpointed,
    Failed,
    Note,
    Started,
)
from convscope_server.runs.service import RunService
from convscope_server.runs.store import RunStore
from support.aio import eventually, in_loop
from support.run_house import events_of, request, run_service
from support.steered import DONE, LONG, begun, engine_of, until_kept


@in_loop
async def test_a_run_that_was_kept_goes_on_when_its_worker_is_lost_however_often() -> None:
    engine = engine_of()
    async with run_service(engine) as service:
        record = await begun(service, engine)
        for step in range(1, 8):
            engine.emit(record.id, Checkpointed(step, f"key{step}"))
            engine.lose(record.id, started=True)
            await eventually(lambda step=step: len(engine.started) == step + 1)  # type: ignore[misc]  # mypy infers no type of a default argument
            assert (engine.started[-1].checkpoint, engine.started[-1].attempt) == (f"key{step}", step + 1)
        engine.lose(record.id, started=True)  # it came no further
        events = await events_of(service, record.id)
        assert isinstance(events[-1], Failed)
        assert Note("its worker was lost; it goes on from step 3") in events


@in_loop
async def test_a_run_that_certainly_took_its_worker_down_does_not_go_on() -> None:
    engine = engine_of()
    async with run_service(engine) as service:
        record = await begun(service, engine)
        engine.emit(record.id, Checkpointed(7, "key"))
        engine.lose(record.id, started=True, blame="certain")
        await eventually(lambda: record.id not in service._live)
        assert (await service.get(record.id)).state == "failed"


async def _left_by_a_server(url: str) -> tuple[str, str]:
    """Two runs, one kept at step 7 and one paused at it, whose server has gone."""
    engine = engine_of(capacity=2)
    async with run_service(engine, url=url) as service:
        kept, paused = [await begun(service, engine, seed=seed) for seed in range(2)]
        for record in (kept, paused):
            engine.emit(record.id, Checkpointed(5, "old"), Checkpointed(7, f"key{record.request.seed}"))
        await service.steering.pause(paused.id)
        await eventually(lambda: service._live[paused.id].paused)
        await service.steering.update(paused.id, {"step_size": 2.0})
    return kept.id, paused.id


@in_loop
async def test_another_server_goes_on_from_the_newest_checkpoint_and_leaves_paused_runs_paused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'runs.db'}"
    kept, paused = await _left_by_a_server(url)
    engine = engine_of(capacity=2)
    async with run_service(engine, url=url) as service:
        await eventually(lambda: kept in engine.runs)
        assert (engine.started[-1].checkpoint, engine.started[-1].attempt) == ("key0", 2)
        assert (await service.get(paused)).state == "paused"
        await service.steering.resume(paused)
        await eventually(lambda: paused in engine.runs)
        assert engine.started[-1].checkpoint == "key1"
        assert engine.started[-1].updates == (Update({"step_size": 2.0}, 7, made=True),)


@pytest.mark.parametrize("kept", [False, True])
@in_loop
async def test_identical_runs_share_again_on_the_next_server_what_they_shared(tmp_path: Path, *, kept: bool) -> None:
    url, engine = f"sqlite:///{tmp_path / 'runs.db'}", engine_of(capacity=3)
    asked = {"technique": LONG, "max_restarts": 1}
    async with run_service(engine, url=url) as service:
        head = await begun(service, engine, max_restarts=1)
        others = [await service.submit(request(**asked)) for _ in range(2)]
        if kept:
            engine.emit(head.id, Checkpointed(7, "key"))
        for other in others if kept else ():
            await until_kept(service, other.id)
        alone = await begun(service, engine, cache="bypass", max_restarts=1)
    engine = engine_of(capacity=3)
    async with run_service(engine, url=url) as service:
        await eventually(lambda: len(engine.runs) == 2)
        assert {spec.id for spec in engine.started} == {head.id, alone.id}
        engine.emit(head.id, Started("cpu", 2, 7 if kept else 0))
        await service.cancel(head.id)  # the others still want it
        assert head.id in engine.runs
        engine.emit(head.id, DONE)
        for other in others:
            events = await events_of(service, other.id)
            assert events[-2:] == [Started("cpu", 2, 7 if kept else 0), DONE]


@in_loop
async def test_what_a_lost_worker_wrote_and_told_nobody_of_is_removed(tmp_path: Path) -> None:
    engine, files = engine_of(), tmp_path / "checkpoints"
    files.mkdir()
    async with run_service(engine, checkpoints=files) as service:
        record = await begun(service, engine)
        before, told_of, after, last = (f"{record.id}-{2**60 + moment:x}" for moment in range(4))
        others = f"{'0' * 32}-{2**60:x}", f"{'f' * 32}-{2**60:x}"
        for name in (before, told_of, after, f".{last}.tmp", *others):
            (files / name).touch()
        engine.emit(record.id, Checkpointed(7, told_of))
        engine.lose(record.id, started=True)
        await eventually(lambda: len(engine.started) == 2)
        await eventually(lambda: {file.name for file in files.iterdir()} == {before, told_of, *others})


@in_loop
async def test_files_that_no_run_goes_on_from_are_removed(tmp_path: Path) -> None:
    url, files = f"sqlite:///{tmp_path / 'runs.db'}", tmp_path / "checkpoints"
    files.mkdir()
    for name in ("old", "key0", "key1", "somebody's", ".key0.tmp"):
        (files / name).touch()
    kept, paused = await _left_by_a_server(url)
    engine = engine_of(capacity=2)
    service = RunService(RunStore(url), ContentStore(f"file://{tmp_path}/content"), engine, checkpoints=files)
    await service.start()
    try:
        assert {file.name for file in files.iterdir()} == {"key0", "key1"}
        await eventually(lambda: kept in engine.runs)
        (files / "key2").touch()
        engine.emit(kept, Checkpointed(9, "key2"))
        await eventually(lambda: {file.name for file in files.iterdir()} == {"key1", "key2"})
        engine.emit(kept, DONE)
        await service.cancel(paused)
        await eventually(lambda: not list(files.iterdir()))
    finally:
        await service.close()


@in_loop
async def test_a_drain_puts_down_what_can_go_on_at_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'runs.db'}"
    engine = engine_of()
    async with run_service(engine, url=url) as service:
        record = await begun(service, engine)
        engine.emit(record.id, Checkpointed(7, "key"))
        async with asyncio.timeout(1):
            await service.drain(60)
        assert not engine.runs
    engine = engine_of()
    async with run_service(engine, url=url) as service:
        await eventually(lambda: record.id in engine.runs)
        assert (engine.started[-1].checkpoint, engine.started[-1].attempt) == ("key", 1)
