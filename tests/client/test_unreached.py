"""A client that gets nowhere says why, as gRPC's own words for it show on a real port."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

import convscope
from convscope._unreached import why_unreached
from convscope_server.access.self_signed import SelfSigned, self_signed

KEYS = "certificates"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> SelfSigned:
    return self_signed(tmp_path_factory.mktemp(KEYS))


@pytest.fixture(scope="module")
def with_tls(files: SelfSigned) -> Iterator[str]:
    yield from _listening(grpc.ssl_server_credentials([(files.key.read_bytes(), files.certificate.read_bytes())]))


@pytest.fixture(scope="module")
def without_tls() -> Iterator[str]:
    yield from _listening(None)


def _listening(credentials: grpc.ServerCredentials | None) -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(1))
    where = "0.0.0.0:0"
    port = server.add_insecure_port(where) if credentials is None else server.add_secure_port(where, credentials)
    server.start()
    yield f"localhost:{port}"
    server.stop(None)


def refusal(address: str, **access: Any) -> str:
    with convscope.connect(address, **access) as client, pytest.raises(convscope.Unavailable) as raised:
        client.techniques()
    return str(raised.value)


def test_a_server_that_wants_tls(with_tls: str) -> None:
    assert "a server with TLS wants ca=" in refusal(with_tls)


def test_a_server_without_tls(without_tls: str, files: SelfSigned) -> None:
    assert f"the server at {without_tls} does not speak TLS" in refusal(without_tls, ca=files.ca)


def test_a_certificate_of_another_authority(with_tls: str, tmp_path: Path) -> None:
    assert "signed by nobody whom ca= names" in refusal(with_tls, ca=self_signed(tmp_path).ca)


def test_a_certificate_for_another_name(with_tls: str, files: SelfSigned) -> None:
    port = with_tls.rpartition(":")[2]
    assert "made out to another name" in refusal(f"127.0.0.2:{port}", ca=files.ca)


def test_nobody_there() -> None:
    details = "failed to connect to all addresses; last error: Connection refused"
    assert "is `convscope serve` running there?" in why_unreached("gpu-box:8470", details)
