"""TLS on a real port: who can connect, and what happens when certificates are renewed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from convscope.v1 import catalog_service_pb2, visualization_service_pb2
from convscope.v1.catalog_service_pb2_grpc import CatalogServiceStub
from convscope.v1.visualization_service_pb2_grpc import VisualizationServiceStub
from convscope_server.access.self_signed import SelfSigned, self_signed
from convscope_server.api.tls import TlsError, TlsFiles, server_credentials
from convscope_server.app import StartError
from support.aio import in_loop
from support.port import catalog_engine, serving, visualize

PEM = serialization.Encoding.PEM


def client_certificate(folder: Path, files: SelfSigned, name: str) -> tuple[bytes, bytes]:
    """Key and certificate of a client, signed by the server's own authority."""
    authority = x509.load_pem_x509_certificate(files.ca.read_bytes())
    signer = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(authority.not_valid_before_utc)
        .not_valid_after(authority.not_valid_after_utc)
        .sign(signer, hashes.SHA256())  # type: ignore[arg-type]  # an EC key, made by self_signed
    )
    private = key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return private, certificate.public_bytes(PEM)


async def models(address: str, credentials: grpc.ChannelCredentials | None) -> list[str]:
    async with _channel(address, credentials) as channel:
        page = await CatalogServiceStub(channel).ListModels(catalog_service_pb2.ListModelsRequest(), timeout=5)
        return [model.name for model in page.models]


def _channel(address: str, credentials: grpc.ChannelCredentials | None) -> grpc.aio.Channel:
    options: Sequence[Any] = (("grpc.use_local_subchannel_pool", 1),)
    if credentials is None:
        return grpc.aio.insecure_channel(address, options=options)
    return grpc.aio.secure_channel(address, credentials, options=options)


def test_a_certificate_is_made_once_names_the_machine_and_is_private(tmp_path: Path) -> None:
    files = self_signed(tmp_path / "tls", ["gpu-box", "10.0.0.7", "0.0.0.0"])
    before = files.certificate.read_bytes()
    assert self_signed(tmp_path / "tls", ["gpu-box"]) == files
    assert files.certificate.read_bytes() == before
    certificate = x509.load_pem_x509_certificate(before)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    said = {str(name.value) for name in names}
    assert {"localhost", "127.0.0.1", "::1", "gpu-box", "10.0.0.7"} <= said
    assert "0.0.0.0" not in said
    for path in (tmp_path / "tls").iterdir():
        assert path.stat().st_mode & 0o077 == 0


def test_a_certificate_for_another_name_is_made_anew_under_the_same_authority(tmp_path: Path) -> None:
    files = self_signed(tmp_path, [])
    authority, before = files.ca.read_bytes(), files.certificate.read_bytes()
    self_signed(tmp_path, ["gpu-box"])
    assert files.ca.read_bytes() == authority
    assert files.certificate.read_bytes() != before


@in_loop
async def test_a_client_with_the_authority_connects_and_others_do_not(tmp_path: Path) -> None:
    async with serving(catalog_engine(), tmp_path, tls_self_signed=True) as port:
        roots = (tmp_path / "tls" / "ca.pem").read_bytes()
        assert await models(port.address, grpc.ssl_channel_credentials(roots)) == ["efficientnet_lite0"]
        for wrong in (None, grpc.ssl_channel_credentials(), grpc.ssl_channel_credentials(_other(tmp_path))):
            with pytest.raises(grpc.aio.AioRpcError) as refusal:
                await models(port.address, wrong)
            assert refusal.value.code() == grpc.StatusCode.UNAVAILABLE


def _other(folder: Path) -> bytes:
    return self_signed(folder / "other").ca.read_bytes()


@in_loop
async def test_a_renewed_certificate_counts_for_new_connections_and_streams_go_on(tmp_path: Path) -> None:
    old, new = self_signed(tmp_path / "old"), self_signed(tmp_path / "new")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.write_bytes(old.certificate.read_bytes())
    key.write_bytes(old.key.read_bytes())
    trust = [grpc.ssl_channel_credentials(files.ca.read_bytes()) for files in (old, new)]
    async with (
        serving(catalog_engine(), tmp_path / "data", tls_cert=cert, tls_key=key) as port,
        _channel(port.address, trust[0]) as channel,
    ):
        stub = VisualizationServiceStub(channel)
        run = (await stub.SubmitRun(visualization_service_pb2.SubmitRunRequest(request=visualize()))).run.id
        stream = aiter(stub.WatchRun(visualization_service_pb2.WatchRunRequest(run=run)))
        assert (await anext(stream)).HasField("accepted")
        cert.write_bytes(new.certificate.read_bytes())
        with pytest.raises(grpc.aio.AioRpcError):  # half a pair: the old one stays in force
            await models(port.address, trust[1])
        key.write_bytes(new.key.read_bytes())
        assert await models(port.address, trust[1])
        with pytest.raises(grpc.aio.AioRpcError):
            await models(port.address, trust[0])
        await stub.CancelRun(visualization_service_pb2.CancelRunRequest(run=run))
        rest = [event async for event in stream]
        assert rest[-1].HasField("cancelled")


@in_loop
async def test_a_clients_certificate_names_its_principal(tmp_path: Path) -> None:
    files = self_signed(tmp_path / "tls")
    settings = {"tls_cert": files.certificate, "tls_key": files.key, "tls_client_ca": files.ca, "admins": ("root",)}
    roots = files.ca.read_bytes()
    async with serving(catalog_engine(), tmp_path / "data", **settings) as port:
        with pytest.raises(grpc.aio.AioRpcError):  # no certificate, no handshake
            await models(port.address, grpc.ssl_channel_credentials(roots))
        seen = {}
        for name in ("ada", "bob", "root"):
            credentials = grpc.ssl_channel_credentials(roots, *client_certificate(tmp_path / "tls", files, name))
            async with _channel(port.address, credentials) as channel:
                stub = VisualizationServiceStub(channel)
                if name == "ada":
                    await stub.SubmitRun(visualization_service_pb2.SubmitRunRequest(request=visualize()))
                page = await stub.ListRuns(visualization_service_pb2.ListRunsRequest())
                seen[name] = len(page.runs)
        assert seen == {"ada": 1, "bob": 0, "root": 1}


@pytest.mark.parametrize(
    ("certificate", "key", "says"),
    [
        ("none.pem", "tls/server.key", "none.pem: cannot be read"),
        ("text.pem", "tls/server.key", "text.pem: is no PEM file"),
        ("tls/server.key", "tls/server.key", "is no certificate"),
        ("tls/server.pem", "tls/server.pem", "is no private key"),
        ("tls/server.pem", "tls/ca.key", "is not the key of"),
    ],
)
def test_files_that_cannot_be_used_are_named(certificate: str, key: str, says: str, tmp_path: Path) -> None:
    self_signed(tmp_path / "tls")
    (tmp_path / "text.pem").write_text("not a certificate")
    with pytest.raises(TlsError, match=says):
        server_credentials(TlsFiles(tmp_path / certificate, tmp_path / key))


def test_a_server_with_a_wrong_certificate_does_not_start(tmp_path: Path) -> None:
    async def start() -> None:
        async with serving(catalog_engine(), tmp_path, tls_cert=tmp_path / "a.pem", tls_key=tmp_path / "b.pem"):
            pass

    with pytest.raises(StartError, match=r"a\.pem: cannot be read"):
        asyncio.run(start())


def test_a_server_without_its_tokens_file_does_not_start(tmp_path: Path) -> None:
    async def start() -> None:
        async with serving(catalog_engine(), tmp_path, tokens_file=tmp_path / "tokens.toml"):
            pass

    with pytest.raises(StartError, match="convscope token create"):
        asyncio.run(start())
