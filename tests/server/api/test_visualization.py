from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from convscope.v1 import run_pb2
from convscope.v1 import visualization_service_pb2 as pb
from convscope_server.api import visualization
from convscope_server.api.convert import event_message
from convscope_server.runs import events
from convscope_server.runs.run import Gap, LoggedEvent
from support.aio import eventually, in_loop
from support.fake_engine import steps
from support.port import Port, catalog_engine, refusal_of, serving, visualize

UNKNOWN = "0" * 32


async def submitted(port: Port, **changes: Any) -> run_pb2.Run:
    response = await port.visualization.SubmitRun(pb.SubmitRunRequest(request=visualize(**changes)))
    return response.run


async def seen(call: Any) -> list[run_pb2.RunEvent]:
    return [event async for event in call]


@in_loop
async def test_visualize_streams_the_log_from_accepted_to_succeeded(tmp_path: Path) -> None:
    async with serving(catalog_engine(script=steps(2)), tmp_path) as port:
        log = await seen(port.visualization.Visualize(visualize(request_id=str(uuid.UUID(int=7)))))
    assert [event.sequence for event in log] == list(range(1, len(log) + 1))
    kinds = [event.WhichOneof("event") for event in log]
    assert kinds == [
        "accepted", "queued", "started", "progress", "preview", "progress", "preview", "result", "succeeded",
    ]  # fmt: skip
    assert log[0].accepted.request_id == str(uuid.UUID(int=7))
    assert log[-1].succeeded.report.scores["steps"] == 2


@in_loop
async def test_the_request_reaches_the_worker_as_it_was_meant(tmp_path: Path) -> None:
    engine = catalog_engine(script=steps(1))
    async with serving(engine, tmp_path) as port:
        previews = run_pb2.PreviewOptions(min_interval=Duration(nanos=500_000_000), max_edge=64, none=True)
        await seen(
            port.visualization.Visualize(
                visualize(
                    "style",
                    params={"octaves": 3, "target": "top2"},
                    extra_images={"style": visualize().image.encoded},
                    seed=2**64 - 1,
                    previews=previews,
                )
            )
        )
    (spec,) = engine.started
    assert spec.params == {"octaves": 3, "target": "top2"}
    assert type(spec.params["octaves"]) is int
    assert spec.image == visualize().image.encoded
    assert spec.extra_images == {"style": visualize().image.encoded}
    assert (spec.seed, spec.previews.min_interval, spec.previews.max_edge) == (2**64 - 1, 0.5, 64)
    assert (spec.previews.format, spec.previews.none) == ("jpeg", True)


@in_loop
async def test_visualize_ends_with_the_runs_own_error(tmp_path: Path) -> None:
    engine = catalog_engine()
    violations = (events.FieldViolation("params.layer", "no layer 'conv9'"),)
    error = events.Error("NOT_FOUND", "no layer 'conv9'", "LAYER_NOT_FOUND", {"near": "conv1"}, violations)
    async with serving(engine, tmp_path) as port:
        call = port.visualization.Visualize(visualize())
        watching = asyncio.create_task(refusal_of(call))
        await eventually(lambda: bool(engine.runs))
        run = next(iter(engine.runs))
        engine.emit(run, events.Started("cpu"), events.Failed(error))
        refusal = await watching
        assert (refusal.code, refusal.reason) == ("NOT_FOUND", "LAYER_NOT_FOUND")
        assert refusal.metadata == {"near": "conv1"}
        assert refusal.violations == {"params.layer": "no layer 'conv9'"}
        again = await seen(port.visualization.WatchRun(pb.WatchRunRequest(run=run)))
        assert again[-1].failed.error.reason == "LAYER_NOT_FOUND"


@in_loop
async def test_a_cancelled_run_ends_visualize_with_cancelled_and_watch_with_ok(tmp_path: Path) -> None:
    engine = catalog_engine()
    async with serving(engine, tmp_path) as port:
        watching = asyncio.create_task(refusal_of(port.visualization.Visualize(visualize())))
        await eventually(lambda: bool(engine.runs))
        run = next(iter(engine.runs))
        for _ in range(2):
            cancelled = await port.visualization.CancelRun(pb.CancelRunRequest(run=run))
            assert cancelled.run.id == run
        refusal = await watching
        assert (refusal.code, refusal.reason) == ("CANCELLED", "RUN_CANCELLED")
        assert refusal.metadata == {"cancel_reason": "requested"}
        log = await seen(port.visualization.WatchRun(pb.WatchRunRequest(run=run)))
        assert log[-1].cancelled.reason == run_pb2.CANCEL_REASON_REQUESTED


@in_loop
async def test_watching_goes_on_after_a_sequence(tmp_path: Path) -> None:
    async with serving(catalog_engine(script=steps(3)), tmp_path) as port:
        whole = await seen(port.visualization.Visualize(visualize()))
        rest = await seen(port.visualization.WatchRun(pb.WatchRunRequest(run=whole[0].run, after_sequence=4)))
        assert rest == whole[4:]
        quiet = await seen(port.visualization.WatchRun(pb.WatchRunRequest(run=whole[0].run, skip_previews=True)))
        assert not any(event.HasField("preview") for event in quiet)
        assert any(event.HasField("gap") for event in quiet)


@in_loop
async def test_an_event_becomes_a_message_once_for_all_who_watch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[LoggedEvent | Gap] = []

    def counted(entry: LoggedEvent | Gap) -> run_pb2.RunEvent:
        made.append(entry)
        return event_message(entry)

    monkeypatch.setattr(visualization, "event_message", counted)
    engine = catalog_engine()
    async with serving(engine, tmp_path) as port:
        run = (await submitted(port)).id
        await eventually(lambda: run in engine.runs)
        request = pb.WatchRunRequest(run=run, every_preview=True)
        calls = [aiter(port.visualization.WatchRun(request)) for _ in range(8)]
        accepted = [await anext(call) for call in calls]
        engine.emit(run, *(events.Progress(step, 50) for step in range(50)), events.Succeeded(events.Report()))
        first, *others = [[begun, *await seen(call)] for begun, call in zip(accepted, calls, strict=True)]
    assert [event.sequence for event in first] == list(range(1, len(first) + 1))
    assert others == [first] * 7
    assert [entry.sequence for entry in made if isinstance(entry, LoggedEvent)] == list(range(1, len(first) + 1))


@in_loop
async def test_a_client_that_leaves_visualize_ends_its_run_after_the_grace(tmp_path: Path) -> None:
    engine = catalog_engine()
    async with serving(engine, tmp_path, disconnect_grace=0.2) as port:
        call = port.visualization.Visualize(visualize())
        await call.read()
        await eventually(lambda: bool(engine.runs))
        call.cancel()
        await eventually(lambda: bool(engine.cancelled), seconds=5)
        assert engine.cancelled[0][1] == "disconnected"


@in_loop
async def test_a_detached_run_outlives_its_watcher(tmp_path: Path) -> None:
    engine = catalog_engine()
    async with serving(engine, tmp_path, disconnect_grace=0.1) as port:
        call = port.visualization.Visualize(visualize(on_disconnect=run_pb2.ON_DISCONNECT_DETACH))
        await call.read()
        await eventually(lambda: bool(engine.runs))
        call.cancel()
        run = (await submitted(port)).id
        await asyncio.sleep(0.3)
        assert engine.cancelled == []
        assert len(engine.runs) == 2
        assert (await port.visualization.GetRun(pb.GetRunRequest(run=run))).run.state == run_pb2.RUN_STATE_QUEUED


@in_loop
async def test_the_same_request_id_gives_the_same_run_and_another_request_is_refused(tmp_path: Path) -> None:
    async with serving(catalog_engine(), tmp_path) as port:
        identifier = str(uuid.uuid4())
        labels = {f"key{i}": "v" for i in range(8)}
        params = {"octaves": 2, "fit": "pad", "target": "top1"}
        first = await submitted(port, request_id=identifier, labels=labels, params=params)
        reordered = dict(reversed(params.items()))
        again = await submitted(port, request_id=identifier, labels=labels, params=reordered)
        assert first.id == again.id
        request = pb.SubmitRunRequest(request=visualize(request_id=identifier, seed=8))
        refusal = await refusal_of(port.visualization.SubmitRun(request))
        assert (refusal.code, refusal.reason) == ("ALREADY_EXISTS", "REQUEST_ID_REUSED")


@in_loop
async def test_runs_are_listed_newest_first_page_by_page(tmp_path: Path) -> None:
    async with serving(catalog_engine(), tmp_path) as port:
        ids = [(await submitted(port, seed=i, labels={"n": str(i % 2)})).id for i in range(5)]
        first = await port.visualization.ListRuns(pb.ListRunsRequest(page_size=3))
        rest = await port.visualization.ListRuns(pb.ListRunsRequest(page_size=3, page_token=first.next_page_token))
        assert [run.id for run in (*first.runs, *rest.runs)] == ids[::-1]
        assert rest.next_page_token == ""
        odd = await port.visualization.ListRuns(pb.ListRunsRequest(labels={"n": "1"}))
        assert [run.id for run in odd.runs] == [ids[3], ids[1]]
        none = await port.visualization.ListRuns(pb.ListRunsRequest(state=run_pb2.RUN_STATE_FAILED))
        assert list(none.runs) == []


@in_loop
async def test_a_page_that_would_not_fit_in_a_message_is_cut_and_nothing_is_lost(tmp_path: Path) -> None:
    big = {"label": "x" * 60_000}
    async with serving(catalog_engine(), tmp_path, max_queued=200) as port:
        ids = [(await submitted(port, seed=i, params=big)).id for i in range(70)]
        listed: list[str] = []
        token = ""
        while True:
            page = await port.visualization.ListRuns(pb.ListRunsRequest(page_size=1000, page_token=token))
            listed += [run.id for run in page.runs]
            token = page.next_page_token
            if not token:
                break
        assert listed == ids[::-1]


@in_loop
async def test_an_ended_run_is_deleted_and_a_living_one_is_not(tmp_path: Path) -> None:
    engine = catalog_engine()
    async with serving(engine, tmp_path) as port:
        run = (await submitted(port)).id
        refusal = await refusal_of(port.visualization.DeleteRun(pb.DeleteRunRequest(run=run)))
        assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "RUN_ALIVE")
        await eventually(lambda: run in engine.runs)
        await port.visualization.CancelRun(pb.CancelRunRequest(run=run))
        await seen(port.visualization.WatchRun(pb.WatchRunRequest(run=run)))
        await port.visualization.DeleteRun(pb.DeleteRunRequest(run=run))
        gone = await refusal_of(port.visualization.GetRun(pb.GetRunRequest(run=run)))
        assert gone.code == "NOT_FOUND"


@pytest.mark.parametrize("run", [UNKNOWN, "", "nonsense", "../../etc/passwd", "x" * 5000])
def test_no_call_finds_a_run_that_is_not_there(run: str, tmp_path: Path) -> None:
    async def check() -> None:
        async with serving(catalog_engine(), tmp_path) as port:
            for call in (
                port.visualization.GetRun(pb.GetRunRequest(run=run)),
                port.visualization.CancelRun(pb.CancelRunRequest(run=run)),
                port.visualization.DeleteRun(pb.DeleteRunRequest(run=run)),
                port.visualization.WatchRun(pb.WatchRunRequest(run=run)),
            ):
                refusal = await refusal_of(call)
                assert (refusal.code, refusal.reason) == ("NOT_FOUND", "RUN_NOT_FOUND")
                assert len(refusal.message) < 300

    in_loop(check)()


@in_loop
async def test_a_watch_or_a_list_with_fields_out_of_bounds_is_refused_field_by_field(tmp_path: Path) -> None:
    async with serving(catalog_engine(), tmp_path) as port:
        watch = await refusal_of(port.visualization.WatchRun(pb.WatchRunRequest(run=UNKNOWN, after_sequence=-1)))
        assert set(watch.violations) == {"after_sequence"}
        bad = pb.ListRunsRequest(page_size=1001, page_token="x" * 2000, state=99, labels={"": "v"})
        refusal = await refusal_of(port.visualization.ListRuns(bad))
        assert set(refusal.violations) == {"page_size", "page_token", "state", "labels."}
        token = await refusal_of(port.visualization.ListRuns(pb.ListRunsRequest(page_token="nonsense")))
        assert token.code == "INVALID_ARGUMENT"


@in_loop
async def test_a_full_queue_says_so_and_when_to_come_back(tmp_path: Path) -> None:
    engine = catalog_engine(capacity=1)
    async with serving(engine, tmp_path, max_queued=1) as port:
        await submitted(port, seed=1)
        await eventually(lambda: bool(engine.runs))
        await submitted(port, seed=2)
        refusal = await refusal_of(port.visualization.SubmitRun(pb.SubmitRunRequest(request=visualize(seed=3))))
        assert (refusal.code, refusal.reason) == ("RESOURCE_EXHAUSTED", "QUEUE_FULL")
        assert int(refusal.metadata["retry_after_seconds"]) > 0
