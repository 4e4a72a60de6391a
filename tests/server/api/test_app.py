from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from convscope.v1 import visualization_service_pb2
from convscope_server.app import StartError, run_server, serve
from convscope_server.config import Settings
from convscope_server.logs import JsonFormatter, configure_logging
from convscope_server.runs.lock import DataDirectoryLockedError, lock_data_dir
from convscope_server.runs.postgres import DatabaseLockedError
from convscope_server.runs.session import HeldSession
from convscope_server.runs.store import RunStore
from convscope_server.stack import worker_options
from support.aio import in_loop
from support.port import CATALOG, catalog_engine, refusal_of, serving, visualize
from support.postgres import PostgresServer, postgres_server

BUILD = """
import asyncio, sys, tempfile, time
began = time.perf_counter()
from convscope_server import app, embedded
from convscope_server.api.server import grpc_server, SERVICES
from convscope_server.api.health import Health
from convscope_server.config import Settings
from convscope_server.engine.local import LocalEngine
from convscope_server.stack import Stack, worker_options

async def build():
    settings = Settings(port=0)
    stack = Stack.build(settings, LocalEngine(worker_options(settings)), database="sqlite://", blobs="memory://x")
    health = Health(list(SERVICES), lambda: False)
    server = grpc_server(stack.servicers, health, stack.admission, settings)
    assert server.add_insecure_port("127.0.0.1:0")

asyncio.run(build())
heavy = {"torch", "torchvision", "timm", "sklearn", "skimage"} & sys.modules.keys()
assert not heavy, heavy
print(time.perf_counter() - began)
"""


def test_the_front_end_is_built_without_torch() -> None:
    done = subprocess.run([sys.executable, "-c", BUILD], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


@in_loop
async def test_the_ready_line_has_the_address_the_devices_and_the_number_of_techniques(tmp_path: Path) -> None:
    async with serving(catalog_engine(), tmp_path) as port:
        assert port.line.startswith("convscope is ready on 127.0.0.1:")
        assert port.line.endswith(f" (cpu; {len(CATALOG.techniques)} techniques)")


@in_loop
async def test_a_port_in_use_is_a_clear_error(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        settings = Settings(port=port, data_dir=tmp_path)
        with pytest.raises(StartError, match=rf"127\.0\.0\.1:{port}: Address already in use\. .*--port"):
            await run_server(settings, engine=catalog_engine())


@in_loop
async def test_two_servers_never_share_a_port(tmp_path: Path) -> None:
    async with serving(catalog_engine(), tmp_path / "one") as port:
        number = int(port.address.rsplit(":", 1)[1])
        with pytest.raises(StartError, match="Address already in use"):
            await run_server(Settings(port=number, data_dir=tmp_path / "two"), engine=catalog_engine())


@pytest.mark.usefixtures("own_logging")
def test_a_port_in_use_is_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code = serve(Settings(port=taken.getsockname()[1], data_dir=tmp_path))
    assert code == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1
    assert errors[0].startswith("convscope: cannot listen on")


@pytest.mark.usefixtures("own_logging")
def test_a_data_directory_in_use_is_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with lock_data_dir(tmp_path):
        assert serve(Settings(port=0, data_dir=tmp_path)) == 2
    assert "--data" in capsys.readouterr().err


@in_loop
async def test_two_servers_never_share_a_data_directory(tmp_path: Path) -> None:
    async with serving(catalog_engine(), tmp_path):
        with pytest.raises(DataDirectoryLockedError):
            await run_server(Settings(port=0, data_dir=tmp_path), engine=catalog_engine())


@in_loop
async def test_a_server_keeps_its_runs_in_postgresql_where_it_is_told_to(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    url = postgres.fresh()
    async with serving(catalog_engine(), tmp_path / "one", database=url) as port:
        request = visualization_service_pb2.SubmitRunRequest(request=visualize())
        run = (await port.visualization.SubmitRun(request)).run.id
        with pytest.raises(DatabaseLockedError):
            await run_server(Settings(port=0, data_dir=tmp_path / "two", database=url), engine=catalog_engine())
    async with serving(catalog_engine(), tmp_path / "three", database=url) as port:
        found = await port.visualization.ListRuns(visualization_service_pb2.ListRunsRequest())
        assert [each.id for each in found.runs] == [run]
    assert not list(tmp_path.rglob("runs.db"))  # noqa: ASYNC240


@in_loop
async def test_a_server_stops_when_another_has_taken_its_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HeldSession, "idle_seconds", None)

    async def until_taken(postgres: PostgresServer, url: str) -> None:
        async with serving(catalog_engine(), tmp_path, database=url) as port:
            await asyncio.to_thread(postgres.stop)
            await asyncio.to_thread(postgres.start)
            other = RunStore(url)
            other.open()
            request = visualization_service_pb2.SubmitRunRequest(request=visualize())
            refusal = await refusal_of(port.visualization.SubmitRun(request))
            assert (refusal.code, refusal.reason) == ("UNAVAILABLE", "STORE_AWAY")
            await asyncio.wait({port.server}, timeout=20)
            other.close()

    with postgres_server() as postgres, pytest.raises(DatabaseLockedError, match="while this one was cut off"):
        await until_taken(postgres, postgres.fresh())


@pytest.mark.usefixtures("own_logging")
def test_a_database_that_does_not_answer_is_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    database = "postgresql://ada:secret@127.0.0.1:1/convscope"
    assert serve(Settings(port=0, data_dir=tmp_path, database=database)) == 2
    said = capsys.readouterr().err
    assert "convscope: cannot use postgresql" in said
    assert "secret" not in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server_in_good_order(number: signal.Signals, tmp_path: Path) -> None:
    async def check() -> None:
        lines: list[str] = []

        def ready(line: str) -> None:
            lines.append(line)
            os.kill(os.getpid(), number)

        await run_server(Settings(port=0, data_dir=tmp_path), ready=ready, engine=catalog_engine())
        assert len(lines) == 1

    in_loop(check)()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@in_loop
async def test_the_server_of_a_test_that_fails_has_stopped(tmp_path: Path) -> None:
    servers = []

    async def fail() -> None:
        async with serving(catalog_engine(), tmp_path) as port:
            servers.append(port.server)
            await port.visualization.SubmitRun(visualization_service_pb2.SubmitRunRequest(request=visualize()))
            pytest.fail("inside")

    with pytest.raises(pytest.fail.Exception, match="inside"):
        await fail()
    assert servers[0].done()
    with lock_data_dir(tmp_path):
        pass


@in_loop
async def test_a_cancelled_server_frees_its_port_and_directory(tmp_path: Path) -> None:
    for _ in range(2):
        line: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        settings = Settings(port=0, data_dir=tmp_path)
        server = asyncio.create_task(run_server(settings, ready=line.set_result, engine=catalog_engine()))
        await line
        server.cancel()
        with pytest.raises(asyncio.CancelledError):
            await server


def test_every_setting_of_workers_reaches_them(tmp_path: Path) -> None:
    settings = Settings(
        devices=("cpu",),
        models_dir=tmp_path,
        image_sets_dir=tmp_path / "sets",
        allow_code=True,
        plugin_files=("p.py",),
        strict=True,
        model_budget_bytes=7,
        max_live_runs=2,
        max_batch=5,
        max_image_pixels=9,
        warm_models=(),
        stall_seconds=3.0,
        start_seconds=4.0,
    )
    options = worker_options(settings, content_url="/content", index_dir="/index", checkpoints_dir="/checkpoints")
    assert {name: getattr(options, name) for name in options.__struct_fields__} == {
        **settings.model_dump(include=set(options.__struct_fields__)),
        "models_dir": str(tmp_path),
        "image_sets_dir": str(tmp_path / "sets"),
        "content_url": "/content",
        "index_dir": "/index",
        "checkpoints_dir": "/checkpoints",
        "environments": (),  # from the settings' tables of plugins
        "only_plugin": "",  # of the workers that such a table starts
    }


def test_a_json_log_has_one_object_a_line_with_the_traceback_inside() -> None:
    try:
        int("x")
    except ValueError:
        record = logging.LogRecord("a.b", logging.ERROR, __file__, 1, "failed: %s", ("it",), sys.exc_info())
    line = JsonFormatter().format(record)
    entry = json.loads(line)
    assert "\n" not in line
    assert (entry["level"], entry["logger"], entry["message"]) == ("error", "a.b", "failed: it")
    assert "ValueError" in entry["traceback"]


@pytest.mark.usefixtures("own_logging")
def test_the_log_follows_the_settings_and_libraries_stay_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings(log_format="json", log_level="debug"))
    logging.getLogger("convscope_server.app").debug("ours")
    logging.getLogger("grpc").debug("theirs")
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["message"] == "ours"
