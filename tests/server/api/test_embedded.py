from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import fsspec
import pytest

from convscope.v1 import catalog_service_pb2, content_service_pb2, run_pb2
from convscope.v1 import visualization_service_pb2 as pb
from convscope_server.config import Settings
from convscope_server.embedded import EmbeddedServer
from convscope_server.errors import RequestError
from support.aio import in_loop
from support.fake_engine import FakeEngine, steps
from support.port import catalog_engine, visualize


def embedded(engine: FakeEngine | None = None, **settings: Any) -> EmbeddedServer:
    return EmbeddedServer(Settings(**settings), engine=lambda: engine or catalog_engine(script=steps(2)))


def wait_for(condition: Any, seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_run_streams_to_its_end_without_a_port() -> None:
    with embedded() as server:
        log = list(server.stream("VisualizationService", "Visualize", visualize()))
        assert log[0].WhichOneof("event") == "accepted"
        assert log[-1].WhichOneof("event") == "succeeded"
        run = server.unary("convscope.v1.VisualizationService", "GetRun", pb.GetRunRequest(run=log[0].run)).run
        assert run.state == run_pb2.RUN_STATE_SUCCEEDED


def test_refusals_are_those_of_the_port() -> None:
    with embedded() as server:
        with pytest.raises(RequestError) as caught:
            list(server.stream("VisualizationService", "Visualize", visualize("salience")))
        assert (caught.value.error.code, caught.value.error.metadata["near"]) == ("NOT_FOUND", "saliency")
        with pytest.raises(LookupError, match="CatalogService/Nonsense"):
            server.unary("CatalogService", "Nonsense", None)


def test_a_bug_is_internal_with_a_reference(caplog: pytest.LogCaptureFixture) -> None:
    engine = catalog_engine()
    engine.details = None  # type: ignore[assignment]  # the bug
    with embedded(engine) as server, pytest.raises(RequestError) as caught:
        server.unary("CatalogService", "GetModel", catalog_service_pb2.GetModelRequest(name="efficientnet_lite0"))
    assert caught.value.error.code == "INTERNAL"
    assert caught.value.error.metadata["reference"] in caplog.text


def test_content_goes_in_and_comes_out_in_chunks() -> None:
    content = bytes(range(256)) * 5000
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"

    def chunks() -> Iterator[content_service_pb2.UploadRequest]:
        for start in range(0, len(content), 2**20):
            yield content_service_pb2.UploadRequest(digest=digest, chunk=content[start : start + 2**20])

    with embedded() as server:
        assert server.client_stream("ContentService", "Upload", chunks()).size_bytes == len(content)
        request = content_service_pb2.DownloadRequest(digest=digest)
        assert b"".join(m.chunk for m in server.stream("ContentService", "Download", request)) == content


def test_leaving_a_stream_ends_the_watching() -> None:
    engine = catalog_engine()
    with embedded(engine, disconnect_grace=0.1) as server:
        events = server.stream("VisualizationService", "Visualize", visualize())
        next(events)
        wait_for(lambda: engine.runs)
        events.close()  # type: ignore[attr-defined]  # it is a generator
        wait_for(lambda: engine.cancelled)
        assert engine.cancelled[0][1] == "disconnected"


def test_many_threads_share_one_server() -> None:
    with embedded() as server, ThreadPoolExecutor(8) as pool:

        def one(seed: int) -> str:
            log = list(server.stream("VisualizationService", "Visualize", visualize(seed=seed)))
            assert log[-1].WhichOneof("event") == "succeeded"
            return str(log[0].run)

        assert len(set(pool.map(one, range(24)))) == 24


def test_another_event_loop_can_use_it() -> None:
    with embedded() as server:

        @in_loop
        async def check() -> None:
            log = [e async for e in server.astream("VisualizationService", "Visualize", visualize())]
            assert log[-1].WhichOneof("event") == "succeeded"
            run = await server.aunary("VisualizationService", "GetRun", pb.GetRunRequest(run=log[0].run))
            assert run.run.id == log[0].run
            digest = f"sha256:{hashlib.sha256(b'x').hexdigest()}"
            upload = [content_service_pb2.UploadRequest(digest=digest, chunk=b"x")]
            assert (await server.aclient_stream("ContentService", "Upload", upload)).digest == digest
            with pytest.raises(RequestError, match="no run"):
                await server.aunary("VisualizationService", "GetRun", pb.GetRunRequest(run="x"))

        check()


def test_a_cancelled_watcher_on_another_loop_ends_the_watching() -> None:
    engine = catalog_engine()
    with embedded(engine, disconnect_grace=0.1) as server:

        async def watch() -> None:
            async for _ in server.astream("VisualizationService", "Visualize", visualize()):
                pass

        @in_loop
        async def check() -> None:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(watch(), 0.5)

        check()
        wait_for(lambda: engine.cancelled)


def test_closing_wakes_everyone_who_waits_and_refuses_everyone_who_comes() -> None:
    engine = catalog_engine()
    server = embedded(engine)
    server.start()
    server.start()
    caught: list[RequestError] = []

    def watch() -> None:
        try:
            list(server.stream("VisualizationService", "Visualize", visualize()))
        except RequestError as refusal:
            caught.append(refusal)

    watcher = threading.Thread(target=watch)
    watcher.start()
    wait_for(lambda: engine.runs)
    server.close()
    server.close()
    watcher.join(10)
    assert not watcher.is_alive()
    assert [refusal.error.code for refusal in caught] == ["UNAVAILABLE"]
    with pytest.raises(RequestError, match="closed"):
        server.unary("CatalogService", "ListModels", catalog_service_pb2.ListModelsRequest())


def test_nothing_is_left_in_memory() -> None:
    before = set(fsspec.filesystem("memory").store)
    with embedded() as server:
        list(server.stream("VisualizationService", "Visualize", visualize()))
        assert set(fsspec.filesystem("memory").store) > before
    assert set(fsspec.filesystem("memory").store) == before


class BrokenEngine(FakeEngine):
    async def start(self, listener: Any) -> None:
        raise RequestError.of("FAILED_PRECONDITION", "NO_WORKER", "no torch")


def test_a_server_that_cannot_start_says_why_and_can_be_closed() -> None:
    server = embedded(BrokenEngine())
    with pytest.raises(RequestError, match="no torch"):
        server.start()
    server.close()
    with pytest.raises(RequestError, match="closed"):
        server.unary("CatalogService", "ListModels", catalog_service_pb2.ListModelsRequest())


def test_options_overrule_settings() -> None:
    server = EmbeddedServer(Settings(devices=("cuda:0",)), devices=["cpu"], plugin_files=["a.py"], models_dir="m")
    assert server._settings.devices == ("cpu",)
    assert server._settings.plugin_files == ("a.py",)
    assert server._settings.models_dir is not None
    assert server._settings.models_dir.name == "m"
