from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha import reflection_pb2

from convscope.v1 import catalog_service_pb2, run_pb2
from convscope.v1 import visualization_service_pb2 as pb
from convscope.v1.visualization_service_pb2_grpc import VisualizationServiceStub
from convscope_server.api.handlers import MAX_MESSAGE, method_name
from convscope_server.api.server import SERVICES, channel_options
from convscope_server.config import Settings
from convscope_server.errors import RequestError
from support.aio import eventually, in_loop
from support.fake_engine import FakeEngine, steps
from support.frozen_proxy import frozen_proxy
from support.port import Port, catalog_engine, refusal_of, serving, visualize

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


async def health_of(port: Port, service: str = "") -> int:
    response = await HealthStub(port.channel).Check(health_pb2.HealthCheckRequest(service=service))
    return int(response.status)


def test_an_rpc_is_answered_by_the_method_in_snake_case() -> None:
    names = [method_name(rpc) for rpc in ("GetRun", "Visualize", "FindMissing", "ListTechniques")]
    assert names == ["get_run", "visualize", "find_missing", "list_techniques"]


@in_loop
async def test_health_is_serving_for_the_server_and_each_service(tmp_path: Path) -> None:
    async with serving(catalog_engine(), tmp_path) as port:
        for service in ("", *(s.full_name for s in SERVICES.values())):
            assert await health_of(port, service) == SERVING
        unknown = await refusal_of(HealthStub(port.channel).Check(health_pb2.HealthCheckRequest(service="nonsense")))
        assert unknown.code == "NOT_FOUND"


@in_loop
async def test_health_follows_the_workers(tmp_path: Path) -> None:
    engine = catalog_engine()
    async with serving(engine, tmp_path) as port:
        watch = HealthStub(port.channel).Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == SERVING
        listener, engine._listener = engine._listener, None
        assert (await watch.read()).status == NOT_SERVING
        engine._listener = listener
        assert (await watch.read()).status == SERVING
        watch.cancel()


class SlowEngine(FakeEngine):
    """Becomes ready when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.told = asyncio.Event()

    async def start(self, listener: Any) -> None:
        await self.told.wait()
        await super().start(listener)


@in_loop
async def test_until_a_worker_is_ready_health_says_so_and_calls_are_put_off(tmp_path: Path, unused_port: int) -> None:
    engine = SlowEngine()

    async def probe() -> None:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{unused_port}") as channel:
            check = HealthStub(channel).Check(health_pb2.HealthCheckRequest(), wait_for_ready=True)
            assert (await check).status == NOT_SERVING
            refusal = await refusal_of(VisualizationServiceStub(channel).Visualize(visualize()))
            assert (refusal.code, refusal.reason) == ("UNAVAILABLE", "STARTING")
        engine.told.set()

    probing = asyncio.create_task(probe())
    async with serving(engine, tmp_path, fixed_port=unused_port) as port:
        await probing
        assert await health_of(port) == SERVING


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection_lists_and_describes_the_services(version: str, tmp_path: Path) -> None:
    async def check() -> None:
        async with serving(catalog_engine(), tmp_path) as port:
            reflect = port.channel.stream_stream(
                f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
                request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
                response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
            )
            requests = [
                reflection_pb2.ServerReflectionRequest(list_services=""),
                reflection_pb2.ServerReflectionRequest(file_containing_symbol="convscope.v1.RunEvent"),
            ]
            listed, described = [response async for response in reflect(iter(requests))]
            names = {service.name for service in listed.list_services_response.service}
            assert {s.full_name for s in SERVICES.values()} <= names
            assert "grpc.health.v1.Health" in names
            assert described.file_descriptor_response.file_descriptor_proto

    in_loop(check)()


@pytest.mark.parametrize("size", [MAX_MESSAGE + 1, 12 * 2**20])
def test_an_over_long_message_is_told_to_upload_by_digest(size: int, tmp_path: Path) -> None:
    async def check() -> None:
        async with serving(catalog_engine(), tmp_path) as port:
            for call in (
                port.visualization.Visualize(visualize(image=b"x" * size)),
                port.visualization.SubmitRun(pb.SubmitRunRequest(request=visualize(image=b"x" * size))),
            ):
                refusal = await refusal_of(call)
                assert (refusal.code, refusal.reason) == ("RESOURCE_EXHAUSTED", "MESSAGE_TOO_LONG")
                assert "ContentService.Upload" in refusal.message
                assert "digest" in refusal.message
                assert refusal.metadata["max_bytes"] == str(4 * 2**20)

    in_loop(check)()


@in_loop
async def test_a_message_of_just_four_mebibytes_is_read(tmp_path: Path) -> None:
    async with serving(catalog_engine(), tmp_path) as port:
        request = visualize(image=b"x" * (MAX_MESSAGE - 1000))
        assert (await refusal_of(port.visualization.Visualize(request))).reason == "IMAGE_TOO_LARGE_INLINE"


@in_loop
async def test_bytes_that_are_no_message_are_the_callers_fault(tmp_path: Path) -> None:
    deep = visualize()
    value = deep.params.fields["octaves"]
    for _ in range(300):
        value = value.list_value.values.add()
    async with serving(catalog_engine(), tmp_path) as port:
        raw = port.channel.unary_stream("/convscope.v1.VisualizationService/Visualize")
        for data in (b"\xff\xff\xff", deep.SerializeToString()):
            refusal = await refusal_of(raw(data))
            assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "MESSAGE_UNREADABLE")


@in_loop
async def test_a_bug_behind_the_port_is_internal_with_a_reference_and_no_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Buggy(FakeEngine):
        async def describe_model(self, model: str) -> Any:
            raise KeyError("the password")

        @property
        def catalog(self) -> Any:
            return catalog_engine()._catalog

    async with serving(Buggy(), tmp_path) as port:
        request = catalog_service_pb2.GetModelRequest(name="efficientnet_lite0")
        refusal = await refusal_of(port.catalog.GetModel(request))
    assert (refusal.code, refusal.reason) == ("INTERNAL", "INTERNAL")
    assert "password" not in refusal.message
    assert refusal.metadata["reference"] in caplog.text
    assert "the password" in caplog.text


def test_connections_are_kept_as_the_settings_say() -> None:
    options = dict(channel_options(Settings()))
    assert options["grpc.keepalive_time_ms"] + options["grpc.http2.ping_timeout_ms"] < 45_000
    assert options["grpc.http2.min_recv_ping_interval_without_data_ms"] == 10_000
    assert options["grpc.http2.max_ping_strikes"] == 0
    assert options["grpc.so_reuseport"] == 0


@in_loop
async def test_a_half_open_connection_is_noticed_and_its_run_ends(tmp_path: Path) -> None:
    engine = catalog_engine()
    chosen = {"keepalive_time": 0.5, "keepalive_timeout": 0.5, "disconnect_grace": 0.2}
    async with (
        serving(engine, tmp_path, **chosen) as port,
        frozen_proxy(port.address) as proxy,
        grpc.aio.insecure_channel(proxy.address) as channel,
    ):
        call = VisualizationServiceStub(channel).Visualize(visualize())
        await call.read()
        await eventually(lambda: bool(engine.runs))
        proxy.freeze()
        await eventually(lambda: bool(engine.cancelled), seconds=5)
        assert engine.cancelled[0][1] == "disconnected"
        call.cancel()


async def read_to_the_end(call: Any) -> None:
    while await call.read():
        pass


@in_loop
async def test_clients_that_ping_often_are_not_thrown_out(tmp_path: Path) -> None:
    engine = catalog_engine()
    options = [
        ("grpc.keepalive_time_ms", 100),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    ]
    async with (
        serving(engine, tmp_path) as port,
        grpc.aio.insecure_channel(port.address, options=options) as channel,
    ):
        call = VisualizationServiceStub(channel).Visualize(visualize(), timeout=30)
        await call.read()
        await eventually(lambda: bool(engine.runs))
        await asyncio.sleep(3.5)  # gRPC pings once a second at most, and would be thrown out at the third
        await port.visualization.CancelRun(pb.CancelRunRequest(run=next(iter(engine.runs))))
        with pytest.raises(grpc.aio.AioRpcError, match="cancelled: requested"):
            await read_to_the_end(call)


@in_loop
async def test_draining_refuses_new_runs_lets_live_ones_end_and_tells_probes(tmp_path: Path) -> None:
    engine = catalog_engine(script=steps(5, seconds=0.1))
    async with serving(engine, tmp_path, drain_grace=20.0) as port:
        call = port.visualization.Visualize(visualize())
        first = await call.read()
        await eventually(lambda: bool(engine.runs))
        port.stop.signal()
        await asyncio.sleep(0.1)
        assert await health_of(port) == NOT_SERVING
        refusal = await refusal_of(port.visualization.Visualize(visualize(seed=2)))
        assert (refusal.code, refusal.reason) == ("UNAVAILABLE", "DRAINING")
        last = first
        while event := await call.read():
            last = event
        assert last.WhichOneof("event") == "succeeded"
        await port.server


@in_loop
async def test_a_run_that_outlasts_the_drain_starts_again_on_the_next_server(tmp_path: Path) -> None:
    engine = catalog_engine()
    async with serving(engine, tmp_path, drain_grace=0.2) as port:
        watching = asyncio.create_task(refusal_of(port.visualization.Visualize(visualize())))
        await eventually(lambda: bool(engine.runs))
        (run,) = engine.runs
        port.stop.signal()
        refusal = await watching
        assert refusal.code == "UNAVAILABLE"
        await port.server
    async with serving(catalog_engine(script=steps(1)), tmp_path) as port:
        log = [event async for event in port.visualization.WatchRun(pb.WatchRunRequest(run=run))]
        assert log[-1].WhichOneof("event") == "succeeded"


@in_loop
async def test_the_second_signal_ends_it_at_once_and_runs_wait_for_the_next_server(tmp_path: Path) -> None:
    engine = catalog_engine()
    async with serving(engine, tmp_path, drain_grace=60.0) as port:
        request = pb.SubmitRunRequest(request=visualize(max_restarts=1))
        run = (await port.visualization.SubmitRun(request)).run.id
        await eventually(lambda: bool(engine.runs))
        began = time.monotonic()
        port.stop.signal()
        port.stop.signal()
        await port.server
        assert time.monotonic() - began < 5
    async with serving(catalog_engine(script=steps(1)), tmp_path) as port:
        log = [event async for event in port.visualization.WatchRun(pb.WatchRunRequest(run=run))]
        assert log[-1].WhichOneof("event") == "succeeded"
        assert (await port.visualization.GetRun(pb.GetRunRequest(run=run))).run.state == run_pb2.RUN_STATE_SUCCEEDED


class NoWorker(FakeEngine):
    async def start(self, listener: Any) -> None:
        raise RequestError.of("FAILED_PRECONDITION", "NO_WORKER", "no worker could be started: no torch")


@in_loop
async def test_a_server_without_workers_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no torch"):
        async with serving(NoWorker(), tmp_path):
            raise AssertionError("it started")
