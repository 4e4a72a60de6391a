"""Whatever is sent to the port: a refusal that says whose fault it is, and a server that goes on."""

from __future__ import annotations

import base64
import contextlib
import socket
from collections import Counter
from collections.abc import Iterator
from typing import Any

import grpc
import psutil
import pytest
from hypothesis import HealthCheck, given, settings

import convscope
from convscope.testing import ServerProcess
from convscope.v1 import run_pb2, visualization_service_pb2
from convscope.v1.visualization_service_pb2_grpc import VisualizationServiceStub
from convscope_server.access.tokens import create_token
from convscope_server.api.convert import struct_of
from support.figures import tell
from support.hostile_plugin import HOSTILE
from support.pictures import encoded
from support.steady_plugin import STEADY
from support.wire_requests import LIVE, Call, calls, garbage

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisWarning")]

REFUSALS = {
    "INVALID_ARGUMENT",
    "NOT_FOUND",
    "UNAUTHENTICATED",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
}
# The request's own doing: its request id or set is there already, or the time that it set has passed.
ASKED_FOR = {"OK", "ALREADY_EXISTS", "DEADLINE_EXCEEDED", "CANCELLED"}
PATIENCE = 20.0
# Of who watches a run that may go on for ever, or be paused.
GLIMPSE = 0.2
CLIMB = struct_of({"steps": 100_000, "pause": 0.005})
GROWTH = 100 * 2**20


class House:
    """A server that asks who is there, its tokens, and a channel to it."""

    def __init__(self, server: ServerProcess, tokens: dict[str, str]) -> None:
        self.server = server
        self.tokens = tokens
        self.channel = grpc.insecure_channel(server.address)
        self._climbing = "0" * 32

    def live(self, message: bytes) -> bytes:
        """The message, with the id of a run that has not ended where it asks for one."""
        if LIVE.encode() not in message:
            return message
        stub: Any = VisualizationServiceStub(self.channel)
        try:
            asked = visualization_service_pb2.GetRunRequest(run=self._climbing)
            ended = stub.GetRun(asked, metadata=self.says("root")).run.HasField("end_time")
        except grpc.RpcError:
            ended = True
        if ended:
            request = run_pb2.VisualizeRequest(technique="steady.climb", model="tiny", params=CLIMB)
            submit = visualization_service_pb2.SubmitRunRequest(request=request)
            self._climbing = stub.SubmitRun(submit, metadata=self.says("root")).run.id
        return message.replace(LIVE.encode(), self._climbing.encode())

    def says(self, principal: str) -> tuple[tuple[str, str], ...]:
        token = self.tokens.get(principal, principal)
        return (("authorization", f"Bearer {token}"),) if token else ()

    def client(self) -> convscope.Client:
        return convscope.connect(self.server.address, token=self.tokens["root"])


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("server")
    tokens = {name: create_token(folder / "tokens.toml", name, admin=name == "root")[0] for name in ("ada", "root")}
    flags = ["--devices", "cpu", "--plugin", STEADY, "--plugin", HOSTILE, "--tokens-file", str(folder / "tokens.toml")]
    limits: dict[str, Any] = {"warm_models": "tiny", "disconnect_grace": 0.5, "max_queued": 50}
    with ServerProcess(folder / "data", *flags, **limits) as server:
        made = House(server, tokens)
        yield made
        made.channel.close()


def fuzz(requests: int) -> settings:
    """Short ones are the same each time; long ones are new."""
    everything = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
    return settings(
        max_examples=requests,
        derandomize=requests < 1000,
        database=None,
        deadline=None,
        suppress_health_check=everything,
    )


def test_any_request_is_answered_by_what_it_asked_for_or_by_whose_fault_it_is(house: House, requests: int) -> None:
    answers: Counter[str] = Counter()

    @fuzz(requests)
    @given(calls())
    def send(call: Call) -> None:
        answer = answer_of(house, call)
        answers[answer] += 1
        assert answer in REFUSALS | ASKED_FOR

    with house.client() as client:
        front, worker = psutil.Process(house.server.pid), psutil.Process(client.devices()[0].pid)
        answer_of_all(house, 50)
        before = front.memory_info().rss, worker.memory_info().rss
        send()
        (device,) = client.devices()
        assert (device.pid, device.restarts) == (worker.pid, 0)
        grown = [after.memory_info().rss - was for after, was in zip((front, worker), before, strict=True)]
        assert client.visualize("steady.reel", model="tiny").result().tensors
    assert "internal error" not in house.server.log
    assert_tells_no_secret(house)
    assert grown[0] < GROWTH
    tell("fuzz", {**answers, "front end grew by MB": grown[0] / 2**20, "worker grew by MB": grown[1] / 2**20})


def assert_tells_no_secret(house: House) -> None:
    """After all that, its log has lines about who asked for what, and neither a token nor a byte of a picture."""
    log = house.server.log
    assert "allowed rpc=" in log
    assert not any(token in log for token in house.tokens.values())
    written = base64.b64encode(encoded())[:40].decode(), encoded()[:24].hex(), repr(encoded())[2:20], "IHDR", "JFIF"
    assert not any(form in log for form in written)


def answer_of_all(house: House, requests: int) -> None:
    """Warm up, so that what is loaded once counts as no growth."""

    @fuzz(requests)
    @given(calls())
    def send(call: Call) -> None:
        answer_of(house, call)

    send()


def answer_of(house: House, call: Call) -> str:
    """The code that it ended with, or that of the run which it watched; what it started is ended."""
    method = call.method
    patience = GLIMPSE if method.name == "WatchRun" else PATIENCE
    with_metadata: dict[str, Any] = {"metadata": house.says(call.principal), "timeout": patience}
    kind = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
    send = getattr(house.channel, kind)(call.path)
    messages = [house.live(message) for message in call.messages]
    sent = iter(messages) if method.client_streaming else messages[0]
    run = ""
    try:
        answer = send(sent, **with_metadata)
        for message in answer if method.server_streaming else ():
            if method.output_type.name == "RunEvent":
                event = run_pb2.RunEvent.FromString(message)
                run = event.run
                if event.HasField("failed"):
                    return list(grpc.StatusCode)[event.failed.error.code].name
    except grpc.RpcError as error:
        return str(error.code().name)  # type: ignore[attr-defined]
    else:
        if method.name == "SubmitRun":
            run = visualization_service_pb2.SubmitRunResponse.FromString(answer).run.id
    finally:
        stop(house, run)
    return "OK"


def stop(house: House, run: str) -> None:
    if run:
        stub: Any = VisualizationServiceStub(house.channel)
        stub.CancelRun(visualization_service_pb2.CancelRunRequest(run=run), metadata=house.says("root"))


def test_bytes_that_are_no_http_cost_their_sender_the_connection_and_nobody_else_anything(
    house: House, requests: int
) -> None:
    host, port = house.server.address.rsplit(":", 1)
    front = psutil.Process(house.server.pid)
    before = front.memory_info().rss

    @fuzz(requests // 4)
    @given(garbage())
    def send(noise: bytes) -> None:
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=0.02) as link:
            link.sendall(noise)
            link.recv(4096)

    send()
    with house.client() as client:
        assert client.techniques()
        assert client.devices()[0].restarts == 0
    assert front.memory_info().rss - before < GROWTH
