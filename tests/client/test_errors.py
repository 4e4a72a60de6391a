from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable
from typing import Any, NoReturn

import pytest

import convscope
from convscope import errors
from convscope._wire import CODES, status_error
from convscope.testing import FakeServer
from support.grpc_fake import serving

CLASSES = [getattr(errors, name) for name in errors.__all__ if name != "FieldViolation"]


def refusing(error: convscope.ConvscopeError) -> FakeServer:
    """A server that refuses everything in one way."""

    def refuse(*_: object) -> NoReturn:
        raise error

    server = FakeServer()
    server.unary = server.stream = refuse  # type: ignore[method-assign]
    return server


def refusal(kind: type[convscope.ConvscopeError]) -> convscope.ConvscopeError:
    return kind(
        "no such thing; do that instead",
        reason="BECAUSE",
        metadata={"near": "a, b"},
        violations=[errors.FieldViolation("params.x", "given 3, allowed ≤ 2")],
    )


BY_CODE = [errors.call_error(code) for code in CODES[1:] if errors.call_error(code) is not convscope.ConvscopeError]


@pytest.mark.parametrize("kind", BY_CODE, ids=lambda kind: kind.__name__)
def test_a_refusal_arrives_with_everything_that_the_server_said(kind: type[convscope.ConvscopeError]) -> None:
    def check(call: Callable[[], Any]) -> None:
        with pytest.raises(convscope.ConvscopeError) as caught:
            call()
        error = caught.value
        assert type(error) is kind
        assert str(error) == error.message == "no such thing; do that instead"
        assert (error.code, error.reason) == (kind.default_code, "BECAUSE")
        assert error.metadata == {"near": "a, b"}
        assert error.violations == (errors.FieldViolation("params.x", "given 3, allowed ≤ 2"),)

    async def list_async(port: int) -> Any:
        async with convscope.aio.connect(f"127.0.0.1:{port}") as client:
            return await client.techniques()

    with serving(refusing(refusal(kind))) as port, convscope.connect(f"127.0.0.1:{port}") as client:
        check(client.techniques)
        check(lambda: asyncio.run(list_async(port)))


def test_a_refused_request_is_raised_where_it_was_made() -> None:
    with (
        serving(refusing(refusal(convscope.InvalidArgument))) as port,
        convscope.connect(f"127.0.0.1:{port}") as client,
    ):
        with pytest.raises(ValueError, match="do that instead") as caught:
            client.visualize("saliency", x=3)
        assert isinstance(caught.value, convscope.InvalidArgument)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_errors_can_be_sent_to_another_process(kind: type[convscope.ConvscopeError]) -> None:
    error = pickle.loads(pickle.dumps(refusal(kind)))
    assert type(error) is kind
    assert (error.message, error.reason, error.metadata) == (
        "no such thing; do that instead",
        "BECAUSE",
        {"near": "a, b"},
    )


def test_every_error_has_one_root() -> None:
    assert all(issubclass(kind, convscope.ConvscopeError) for kind in CLASSES)


def test_an_unreadable_trailer_leaves_code_and_message() -> None:
    error = status_error("NOT_FOUND", "gone", b"\xff\xff\xff")
    assert type(error) is convscope.NotFound
    assert (error.message, error.reason) == ("gone", "")


def test_a_code_of_its_own_is_kept() -> None:
    error = status_error("UNIMPLEMENTED", "no")
    assert type(error) is convscope.ConvscopeError
    assert error.code == "UNIMPLEMENTED"


@pytest.mark.parametrize(
    "code", ["INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "RESOURCE_EXHAUSTED", "INTERNAL"]
)
def test_a_failed_run_is_caught_by_what_it_failed_of(code: str) -> None:
    kind = errors.run_error(code)
    assert issubclass(kind, convscope.RunFailed)
    assert issubclass(kind, errors.call_error(code))
