from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from PIL import Image

import convscope
from convscope import aio
from convscope._embedded import AsyncEmbeddedTransport, EmbeddedTransport, start_server
from convscope.testing import FakeServer, image, progress
from convscope_server.errors import RequestError
from convscope_server.runs.events import Error, FieldViolation

RED = Image.new("RGB", (4, 4), "red")


class EmbeddedFake:
    """What `convscope_server.embedded.EmbeddedServer` promises, in front of a script."""

    def __init__(self, fake: FakeServer) -> None:
        self.fake = fake
        self.closed = False

    def unary(self, service: str, rpc: str, request: Any) -> Any:
        assert service.endswith("Service")
        with refusals():
            return self.fake.unary(rpc, request)

    def client_stream(self, service: str, rpc: str, requests: Iterable[Any]) -> Any:
        with refusals():
            return self.fake.upload(rpc, requests)

    def stream(self, service: str, rpc: str, request: Any) -> Iterator[Any]:
        with refusals():
            yield from self.fake.stream(rpc, request)

    async def aunary(self, service: str, rpc: str, request: Any) -> Any:
        return self.unary(service, rpc, request)

    async def aclient_stream(self, service: str, rpc: str, requests: Iterable[Any]) -> Any:
        return self.client_stream(service, rpc, requests)

    async def astream(self, service: str, rpc: str, request: Any) -> AsyncIterator[Any]:
        for message in self.stream(service, rpc, request):
            yield message

    def close(self) -> None:
        self.closed = True


@contextmanager
def refusals() -> Iterator[None]:
    try:
        yield
    except convscope.ConvscopeError as error:
        violations = (FieldViolation("params.x", "too large"),)
        raise RequestError(Error(error.code, error.message, error.reason, {"near": "y"}, violations)) from error


def embedded_fake() -> Any:  # stands for an EmbeddedServer
    fake = FakeServer()
    fake.add_technique("saliency", [progress(1), image("saliency", RED)])
    return EmbeddedFake(fake)


def test_a_run_without_a_wire_is_like_any_other() -> None:
    server = embedded_fake()
    with convscope.Client(EmbeddedTransport(server)) as client:
        assert client.visualize("saliency", image=client.upload(RED)).result().images["saliency"].size == (4, 4)
        assert [technique.id for technique in client.techniques()] == ["saliency"]
    assert server.closed


def test_a_run_without_a_wire_is_like_any_other_under_asyncio() -> None:
    server = embedded_fake()

    async def watch() -> convscope.Result:
        async with aio.AsyncClient(AsyncEmbeddedTransport(server)) as client:
            run = await client.visualize("saliency", image=await client.upload(RED))
            with pytest.raises(convscope.NotFound):
                await client.technique("none")
            return await run.result(timeout=20)

    assert set(asyncio.run(watch()).images) == {"saliency"}
    assert server.closed


@pytest.mark.parametrize(
    "call", [lambda client: client.technique("none"), lambda client: client.visualize("none")], ids=["unary", "stream"]
)
def test_refusals_are_the_clients_own(call: Callable[[convscope.Client], object]) -> None:
    with pytest.raises(convscope.NotFound, match="no technique 'none'") as caught:
        call(convscope.Client(EmbeddedTransport(embedded_fake())))
    assert (caught.value.reason, caught.value.metadata) == ("TECHNIQUE_NOT_FOUND", {"near": "y"})
    assert caught.value.violations == (convscope.FieldViolation("params.x", "too large"),)


def test_a_closed_server_is_not_tried_again() -> None:
    server = embedded_fake()

    def closed(*_: object) -> Any:
        raise RequestError.of("UNAVAILABLE", "CLOSED", "the embedded server is closed")

    server.stream = closed
    with pytest.raises(convscope.FailedPrecondition, match="this client is closed"):
        convscope.Client(EmbeddedTransport(server)).visualize("saliency")


def test_without_the_server_installed_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "convscope_server.embedded", None)
    with pytest.raises(convscope.FailedPrecondition, match=r'pip install "convscope\[server\]"'):
        convscope.embedded()
    with pytest.raises(convscope.FailedPrecondition, match=r'pip install "convscope\[server\]"'):
        start_server(techniques=(), plugin_files=(), models_dir=None, image_sets_dir=None, devices=())
