"""TLS of the port: PEM files, read again for every new connection once they change."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import grpc

from convscope_server.access.watched_file import WatchedFile

__all__ = ["TlsError", "TlsFiles", "server_credentials"]


class TlsError(ValueError):
    """The TLS files cannot be used; the message names the file and what is wrong."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Where the PEM files lie.

    Attributes:
        certificate: The server's certificate, with its intermediates behind it.
        key: Its private key.
        client_ca: Authorities that sign clients' certificates; None asks clients for none.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None


def server_credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """Credentials of the port. Changed files count from the next connection on; open streams go on as they are.

    Raises:
        TlsError: a file cannot be read, is no PEM, or certificate and key do not belong together.
    """
    watched = [_watched(path) for path in (files.certificate, files.key, files.client_ca) if path is not None]

    def configuration() -> grpc.ServerCertificateConfiguration:
        certificate, key, *authorities = (file.value for file in watched)
        _check_pair(certificate, key, files)
        return grpc.ssl_server_certificate_configuration([(key, certificate)], authorities[0] if authorities else None)

    seen = [file.value for file in watched]

    def changed() -> grpc.ServerCertificateConfiguration | None:
        """What gRPC asks at each new connection; None for no change."""
        now = [file.value for file in watched]
        if now == seen:
            return None
        try:
            fresh = configuration()
        except TlsError:  # half of a pair has been renewed; the other half comes
            return None
        seen[:] = now
        return fresh

    return grpc.dynamic_ssl_server_credentials(
        configuration(),
        changed,  # type: ignore[arg-type]  # None means no change, which the stubs do not know
        require_client_authentication=files.client_ca is not None,
    )


def _watched(path: Path) -> WatchedFile[bytes]:
    def pem(content: bytes) -> bytes:
        if b"-----BEGIN " not in content:
            raise ValueError("is no PEM file: nothing in it begins with -----BEGIN")
        return content

    try:
        return WatchedFile(path, pem)
    except OSError as error:
        raise TlsError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise TlsError(f"{path}: {error}") from None


def _check_pair(certificate: bytes, key: bytes, files: TlsFiles) -> None:
    """GRPC says nothing about a wrong pair but fails every handshake."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    encoding, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    try:
        public = x509.load_pem_x509_certificate(certificate).public_key().public_bytes(encoding, form)
    except ValueError as error:
        raise TlsError(f"{files.certificate}: is no certificate: {error}") from None
    try:
        own = serialization.load_pem_private_key(key, None).public_key().public_bytes(encoding, form)
    except (ValueError, TypeError) as error:
        raise TlsError(f"{files.key}: is no private key without a password: {error}") from None
    if public != own:
        raise TlsError(f"{files.key} is not the key of {files.certificate}; name the two that belong together")
