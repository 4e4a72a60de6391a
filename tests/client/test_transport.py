from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import convscope
from convscope._address import Address, Tls
from convscope._profiles import Access, look_up, profiles_file
from convscope._transport import _OPTIONS
from convscope.testing import FakeServer
from support.grpc_fake import serving


@pytest.mark.parametrize(
    ("given", "target"),
    [
        ("gpu-box:9000", "gpu-box:9000"),
        ("gpu-box", "gpu-box:8470"),
        ("[::1]:9000", "[::1]:9000"),
        ("::1", "[::1]:8470"),
        ("127.0.0.1", "127.0.0.1:8470"),
    ],
)
def test_the_port_may_be_left_out(given: str, target: str) -> None:
    assert Address.of(given).target == target


@pytest.mark.parametrize("given", ["http://gpu-box:8470", "grpc://x", ""])
def test_what_is_no_address_is_refused(given: str) -> None:
    with pytest.raises(convscope.InvalidArgument, match="host:port"):
        convscope.connect(given)


def test_a_token_never_travels_in_the_clear() -> None:
    with pytest.raises(convscope.InvalidArgument, match="in the clear"):
        convscope.connect("gpu-box", token="secret")
    assert Address.of("localhost", Access("secret")).metadata() == (("authorization", "Bearer secret"),)


def test_a_token_goes_over_tls(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(b"pem")
    assert Address.of("gpu-box", Access("secret", str(tmp_path / "ca.pem"))).tls == Tls(b"pem")
    assert Address.of("gpu-box", Access("secret", "system")).tls == Tls()
    with pytest.raises(convscope.InvalidArgument, match="cannot read the certificate authority"):
        convscope.connect("gpu-box", ca=tmp_path / "none.pem")


def test_a_client_may_have_a_certificate_of_its_own(tmp_path: Path) -> None:
    for name in ("cert", "key"):
        (tmp_path / f"{name}.pem").write_bytes(name.encode())
    access = Access(ca="system", cert=str(tmp_path / "cert.pem"), key=str(tmp_path / "key.pem"))
    assert Address.of("gpu-box", access).tls == Tls(None, b"key", b"cert")
    with pytest.raises(convscope.InvalidArgument, match="go together"):
        convscope.connect("gpu-box", ca="system", cert=tmp_path / "cert.pem")
    with pytest.raises(convscope.InvalidArgument, match="takes TLS"):
        convscope.connect("gpu-box", cert=tmp_path / "cert.pem", key=tmp_path / "key.pem")
    with pytest.raises(convscope.InvalidArgument, match="cannot read the private key"):
        convscope.connect("gpu-box", ca="system", cert=tmp_path / "cert.pem", key=tmp_path / "none.pem")


def test_arguments_count_before_the_environment_and_that_before_the_profile(tmp_path: Path) -> None:
    file = tmp_path / "profiles.toml"
    file.write_text('[lab]\nserver = "gpu-box:9000"\ntoken = "profile"\nca = "lab.pem"\n')
    env = {"CONVSCOPE_PROFILES": str(file)}
    here = str(tmp_path / "lab.pem")
    assert look_up("lab", Access(), env) == ("gpu-box:9000", Access("profile", here))
    assert look_up("gpu-box:9000", Access(), env) == ("gpu-box:9000", Access("profile", here))
    assert look_up("other:9000", Access(), env) == ("other:9000", Access())
    env["CONVSCOPE_TOKEN"] = "environment"
    assert look_up("lab", Access(), env) == ("gpu-box:9000", Access("environment", here))
    assert look_up("lab", Access("argument", "system"), env) == ("gpu-box:9000", Access("argument", "system"))


def test_profiles_lie_where_the_system_keeps_settings(tmp_path: Path) -> None:
    assert profiles_file({"HOME": str(tmp_path)}) == tmp_path / ".config/convscope/profiles.toml"
    assert profiles_file({"XDG_CONFIG_HOME": str(tmp_path)}) == tmp_path / "convscope/profiles.toml"
    assert look_up("lab", Access(), {"HOME": str(tmp_path)}) == ("lab", Access())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("= nonsense", "is no TOML file"),
        ("lab = 3", "lab is no table"),
        ("[lab]\ntoken = 'x'", r"\[lab\]: server"),
        ("[lab]\nserver = 'x'\npassword = 'y'", r"\[lab\]: password"),
        ("[lab]\nserver = 3", r"\[lab\]: server"),
    ],
)
def test_a_profile_that_cannot_be_used_is_named(text: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "profiles.toml"
    file.write_text(text)
    with pytest.raises(convscope.InvalidArgument, match=says) as refusal:
        look_up("lab", Access(), {"CONVSCOPE_PROFILES": str(file)})
    assert str(file) in refusal.value.message


def test_a_half_open_connection_is_noticed_within_45_seconds() -> None:
    options = dict(_OPTIONS)
    assert options["grpc.keepalive_time_ms"] + options["grpc.keepalive_timeout_ms"] <= 45_000
    assert options["grpc.keepalive_permit_without_calls"] == 1
    assert not any("message_length" in name for name in options)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_server_that_is_not_there_is_reported_at_once() -> None:
    began = time.monotonic()
    with convscope.connect(f"127.0.0.1:{free_port()}") as client:
        for call in (client.techniques, lambda: client.visualize("x"), lambda: client.attach("0" * 32)):
            with pytest.raises(convscope.Unavailable, match="is `convscope serve` running there"):
                call()
    assert time.monotonic() - began < 10


def test_a_server_that_is_not_there_is_reported_at_once_under_asyncio() -> None:
    async def ask() -> None:
        async with convscope.aio.connect(f"127.0.0.1:{free_port()}") as client:
            await client.visualize("x")

    with pytest.raises(convscope.Unavailable, match="is `convscope serve` running there"):
        asyncio.run(ask())


def test_a_call_that_takes_too_long_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    server = FakeServer()
    answer = server.unary
    monkeypatch.setattr(server, "unary", lambda *args: time.sleep(0.5) or answer(*args))
    with serving(server) as port, convscope.connect(f"127.0.0.1:{port}", timeout=0.1) as client:
        with pytest.raises(convscope.DeadlineExceeded):
            client.techniques()
        assert client.model("efficientnet_lite0").name == "efficientnet_lite0", "loading a model has no deadline"


def test_a_closed_async_client_says_so() -> None:
    async def ask() -> None:
        client = convscope.aio.connect("127.0.0.1:1")
        await client.close()
        await client.techniques()

    with pytest.raises(convscope.FailedPrecondition, match="closed"):
        asyncio.run(ask())


class Shaky(FakeServer):
    """Breaks the connection after each of the first calls, which it has heard."""

    def __init__(self, breaks: int, reason: str = "") -> None:
        super().__init__()
        self.breaks, self.reason = breaks, reason

    def unary(self, call: str, request: Any) -> Any:
        answer = super().unary(call, request)
        if len(self.requests) <= self.breaks:
            raise convscope.Unavailable("the connection broke", reason=self.reason)
        return answer


def test_a_call_whose_answer_was_lost_is_made_again() -> None:
    for ask in (_models, lambda port: asyncio.run(_models_in_a_loop(port))):
        with serving(shaky := Shaky(2)) as port:
            assert ask(port) == 1
        assert [call for call, _ in shaky.requests] == ["ListModels"] * 3


def _models(port: int) -> int:
    with convscope.connect(f"127.0.0.1:{port}") as client:
        return len(client.models())


async def _models_in_a_loop(port: int) -> int:
    async with convscope.aio.connect(f"127.0.0.1:{port}") as client:
        return len(await client.models())


def _told_once(shaky: Shaky, ask: Callable[[convscope.Client], object]) -> None:
    before = len(shaky.requests)
    with (
        serving(shaky) as port,
        convscope.connect(f"127.0.0.1:{port}") as client,
        pytest.raises(convscope.Unavailable),
    ):
        ask(client)
    assert len(shaky.requests) == before + 1


def test_a_refusal_and_a_deletion_are_not_said_twice() -> None:
    _told_once(Shaky(1, "DRAINING"), lambda client: client.models())
    shaky = Shaky(0)
    shaky.add_technique("quick", [])
    run = shaky.client().visualize("quick")
    run.result()
    shaky.breaks = len(shaky.requests) + 1
    _told_once(shaky, lambda client: client.delete(run.id))
