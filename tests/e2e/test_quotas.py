"""What is too much is refused, and the refusal says which bound it was and when to come back."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest

import convscope
from convscope.testing import ServerProcess
from convscope.v1 import content_service_pb2, run_pb2, visualization_service_pb2
from convscope.v1.content_service_pb2_grpc import ContentServiceStub
from convscope.v1.visualization_service_pb2_grpc import VisualizationServiceStub
from convscope_server.access.tokens import create_token
from convscope_server.api.convert import struct_of
from support.aio import eventually, in_loop
from support.hostile_plugin import HOSTILE
from support.port import Refusal, refusal_of

pytestmark = pytest.mark.slow


class House:
    """A server that bounds its principals, ada, bob and cyd."""

    def __init__(self, address: str, tokens: dict[str, str], stack: ExitStack) -> None:
        self._address = address
        self._tokens = tokens
        self.clients = {
            name: stack.enter_context(convscope.connect(address, token=token)) for name, token in tokens.items()
        }

    def start(self, who: str, steps: int = 100_000) -> convscope.Run:
        """A run that goes on for as long as it may."""
        return self.clients[who].visualize("hostile.count", model="tiny", steps=steps, pause=0.02, detach=True)

    async def refused_run(self, who: str) -> Refusal:
        request = run_pb2.VisualizeRequest(
            technique="hostile.count", model="tiny", params=struct_of({"steps": 1, "pause": 0.0})
        )
        message = visualization_service_pb2.SubmitRunRequest(request=request)
        async with grpc.aio.insecure_channel(self._address) as channel:
            return await refusal_of(VisualizationServiceStub(channel).SubmitRun(message, metadata=self._says(who)))

    async def refused_upload(self, who: str, content: bytes) -> Refusal:
        async with grpc.aio.insecure_channel(self._address) as channel:
            message = content_service_pb2.UploadRequest(digest=_digest(content), chunk=content)
            call = ContentServiceStub(channel).Upload(iter([message]), metadata=self._says(who))
            return await refusal_of(call)

    def _says(self, who: str) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self._tokens[who]}"),)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("quotas")
    tokens = {name: create_token(folder / "tokens.toml", name)[0] for name in ("ada", "bob", "cyd")}
    bounds: dict[str, Any] = {
        "max_live_runs": 4,
        "max_queued": 3,
        "principal_running": 1,
        "principal_queued": 2,
        "principal_device_seconds": 1,
        "principal_stored_bytes": 100_000,
    }
    flags = ("--devices", "cpu", "--plugin", HOSTILE, "--tokens-file", str(folder / "tokens.toml"))
    with ServerProcess(folder / "data", *flags, **bounds) as server, ExitStack() as stack:
        yield House(server.address, tokens, stack)


@in_loop
async def test_each_bound_refuses_with_its_name_and_the_time_to_come_back(house: House) -> None:
    ada, bob = house.clients["ada"], house.clients["bob"]
    runs = [house.start("ada") for _ in range(3)]
    await eventually(lambda: len(ada.runs(state="running")) == 1, seconds=60)
    queued = await house.refused_run("ada")
    assert (queued.code, queued.reason, queued.quotas) == ("RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED", ("queued runs",))
    assert queued.retry_after is not None
    assert 1 <= queued.retry_after <= 60

    runs += [house.start("bob") for _ in range(2)]
    await eventually(lambda: len(bob.runs(state="running")) == 1, seconds=60)
    full = await house.refused_run("bob")
    assert (full.code, full.reason, full.quotas) == ("RESOURCE_EXHAUSTED", "QUEUE_FULL", ())
    assert full.retry_after is not None
    assert 1 <= full.retry_after <= 600
    with pytest.raises(convscope.ResourceExhausted, match="runs wait already"):
        house.start("cyd")
    assert len(ada.runs(state="running")) == 1

    await eventually(lambda: ada.run(runs[0].id).device_seconds >= 1, seconds=60)
    for run in runs:
        (ada if run in runs[:3] else bob).cancel(run.id)
    await eventually(lambda: not ada.runs(state="running") and not bob.runs(state="running"), seconds=60)
    hour = await house.refused_run("ada")
    assert (hour.code, hour.reason, hour.quotas) == ("RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED", ("device seconds",))
    assert hour.retry_after is not None
    assert 3000 <= hour.retry_after <= 3600


@in_loop
async def test_who_has_too_much_kept_is_told_to_delete_some(house: House, tmp_path: Path) -> None:
    cyd = house.clients["cyd"]
    cyd.upload(os.urandom(120_000))
    for refusal in (await house.refused_run("cyd"), await house.refused_upload("cyd", b"one more")):
        assert (refusal.code, refusal.reason, refusal.quotas) == (
            "RESOURCE_EXHAUSTED",
            "QUOTA_EXCEEDED",
            ("stored bytes",),
        )
        assert refusal.retry_after is None
        assert "delete some" in refusal.message


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
