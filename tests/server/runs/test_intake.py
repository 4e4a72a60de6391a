"""What is refused as too much, whoever asks and however many do so at once."""

from __future__ import annotations

import asyncio

import pytest

from convscope_server.errors import RequestError
from convscope_server.runs.events import Queued
from convscope_server.runs.limits import PrincipalLimits, RunLimits
from convscope_server.runs.run import LoggedEvent, RunRecord
from convscope_server.runs.service import RunService
from support.aio import eventually, in_loop
from support.fake_engine import FakeEngine, steps
from support.run_house import request, run_service, watched


def limits(**principal: float) -> RunLimits:
    return RunLimits(principal=PrincipalLimits(**principal))  # type: ignore[arg-type]  # 1.0 is as good as 1


async def refused(service: RunService, **changes: object) -> RequestError:
    with pytest.raises(RequestError) as refusal:
        await service.submit(request(**changes))
    return refusal.value


async def many(service: RunService, count: int, **changes: object) -> tuple[list[RunRecord], list[RequestError]]:
    """Submissions at once: those accepted and those refused."""
    submitting = (service.submit(request(**changes)) for _ in range(count))
    outcomes = await asyncio.gather(*submitting, return_exceptions=True)
    accepted = [outcome for outcome in outcomes if isinstance(outcome, RunRecord)]
    return accepted, [outcome for outcome in outcomes if isinstance(outcome, RequestError)]


@in_loop
async def test_no_crowd_gets_past_the_bound_of_the_queue() -> None:
    async with run_service(FakeEngine(capacity=0), limits=RunLimits(max_queued=5)) as service:
        accepted, refusals = await many(service, 20)
        assert (len(accepted), len(refusals)) == (5, 15)
        assert {refusal.error.reason for refusal in refusals} == {"QUEUE_FULL"}
        assert {refusal.error.metadata["retry_after_seconds"] for refusal in refusals} == {"5"}


@in_loop
async def test_no_crowd_gets_past_a_principals_bound_and_others_still_come() -> None:
    async with run_service(FakeEngine(capacity=0), limits=limits(queued=3)) as service:
        accepted, refusals = await many(service, 10, owner="ada")
        assert len(accepted) == 3
        assert {refusal.error.metadata["quota"] for refusal in refusals} == {"queued runs"}
        assert (await service.submit(request(owner="bob"))).state == "queued"
        await service.cancel(accepted[0].id)
        await service.submit(request(owner="ada"))


@in_loop
async def test_a_known_request_id_is_given_although_the_quota_is_used_up() -> None:
    async with run_service(FakeEngine(capacity=0), limits=limits(queued=1)) as service:
        first = await service.submit(request(owner="ada", request_id="one"))
        assert (await service.submit(request(owner="ada", request_id="one"))).id == first.id
        assert (await refused(service, owner="ada", request_id="two")).error.reason == "QUOTA_EXCEEDED"


@in_loop
async def test_device_seconds_of_the_last_hour_are_bounded_and_survive_a_restart(tmp_path: object) -> None:
    url, bound = f"sqlite:///{tmp_path}/runs.db", limits(device_seconds=10)
    engine = FakeEngine()
    async with run_service(engine, url=url, limits=bound) as service:
        run = (await service.submit(request(owner="ada"))).id
        await eventually(lambda: run in engine.runs)
        service._live.run_attained(run, 6.0)
        service._live.run_attained(run, 11.0)
        refusal = (await refused(service, owner="ada")).error
        assert (refusal.metadata["quota"], refusal.metadata["limit"]) == ("device seconds", "10")
        assert 3500 <= float(refusal.metadata["retry_after_seconds"]) <= 3600
        await service.submit(request(owner="bob"))
        await eventually(lambda: len(engine.started) == 2)
        await service.cancel(run)
        await watched(service, run)
        assert (await service.get(run)).device_seconds == 11.0
    async with run_service(FakeEngine(), url=url, limits=bound) as service:
        assert (await refused(service, owner="ada")).error.metadata["quota"] == "device seconds"


@in_loop
async def test_what_is_kept_for_a_principal_is_bounded_until_they_delete_some() -> None:
    engine = FakeEngine(script=steps(1, content=b"x" * 5000))
    async with run_service(engine, limits=limits(stored_bytes=5000)) as service:
        run = (await service.submit(request(owner="ada"))).id
        await watched(service, run)
        refusal = (await refused(service, owner="ada")).error
        assert (refusal.code, refusal.metadata["quota"]) == ("RESOURCE_EXHAUSTED", "stored bytes")
        assert "retry_after_seconds" not in refusal.metadata
        await service.submit(request(owner="bob"))
        await service.delete(run)
        await service.submit(request(owner="ada"))


@in_loop
async def test_no_more_runs_of_a_principal_start_than_may_run() -> None:
    engine = FakeEngine(capacity=8)
    async with run_service(engine, limits=limits(running=2)) as service:
        for _ in range(4):
            await service.submit(request(owner="ada"))
        await service.submit(request(owner="bob"))
        await eventually(lambda: len(engine.started) == 3)
        assert [spec.owner for spec in engine.started].count("ada") == 2
        await service.cancel(next(run for run, spec in engine.runs.items() if spec.owner == "ada"))
        await eventually(lambda: [spec.owner for spec in engine.started].count("ada") == 3)


@in_loop
async def test_a_light_principal_is_told_a_place_before_most_of_a_heavy_ones_runs() -> None:
    async with run_service(FakeEngine(capacity=0)) as service:
        for _ in range(6):
            await service.submit(request(owner="heavy"))
        run = (await service.submit(request(owner="light"))).id
        second = await anext(service.watch(run, after_sequence=1))
        assert isinstance(second, LoggedEvent)
        assert second.event == Queued(1)
