"""The client and a server that asks who it is, over TLS."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import convscope
import convscope.aio
from convscope_server.access.tokens import create_token
from support.port import CATALOG, catalog_engine, serving


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[str]:
    """The address of such a server, running in a thread of its own."""
    address: list[str] = []
    ready, done = threading.Event(), threading.Event()

    async def serve() -> None:
        settings = {"tls_self_signed": True, "tokens_file": tmp_path / "tokens.toml"}
        async with serving(catalog_engine(), tmp_path / "data", **settings) as port:
            address.append(port.address)
            ready.set()
            await asyncio.to_thread(done.wait)

    create_token(tmp_path / "tokens.toml", "nobody")
    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(30)
    yield address[0]
    done.set()
    thread.join()


def test_a_token_and_the_authority_let_a_client_in(secure: str, tmp_path: Path) -> None:
    token, _ = create_token(tmp_path / "tokens.toml", "ada")
    ca = tmp_path / "data" / "tls" / "ca.pem"
    with convscope.connect(secure, token=token, ca=ca) as client:
        assert [model.name for model in client.models()] == ["efficientnet_lite0"]
        assert client.runs() == []

    async def ask() -> int:
        async with convscope.aio.connect(secure, token=token, ca=ca) as client:
            return len(await client.techniques())

    assert asyncio.run(ask()) == len(CATALOG.techniques)


def test_the_errors_say_what_is_missing(secure: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ca = tmp_path / "data" / "tls" / "ca.pem"
    with convscope.connect(secure, ca=ca) as client, pytest.raises(convscope.Unauthenticated, match="token create"):
        client.models()
    monkeypatch.setenv("CONVSCOPE_TOKEN", "cvs_wrong")
    with convscope.connect(secure, ca=ca) as client, pytest.raises(convscope.Unauthenticated, match="unknown, revoked"):
        client.models()


def test_a_profile_is_enough(secure: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token, _ = create_token(tmp_path / "tokens.toml", "ada")
    file = tmp_path / "profiles.toml"
    file.write_text(f'[lab]\nserver = "{secure}"\ntoken = "{token}"\nca = "data/tls/ca.pem"\n')
    monkeypatch.setenv("CONVSCOPE_PROFILES", str(file))
    for target in ("lab", secure):
        with convscope.connect(target) as client:
            assert len(client.techniques()) == len(CATALOG.techniques)
