"""A certificate of one's own: an authority that only this server knows, and a certificate that it signed."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["SelfSigned", "self_signed"]

_YEARS = 10
_RENEW_BEFORE = dt.timedelta(days=30)
_DAYS = 397
_DAY = dt.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class SelfSigned:
    """Where the files lie. `ca` is what clients are given: connect(…, ca="ca.pem")."""

    ca: Path
    certificate: Path
    key: Path


def self_signed(folder: Path, names: Iterable[str] = ()) -> SelfSigned:
    """A certificate for this machine, made in `folder` unless one is there that is good for another month.

    The authority stays the same when the certificate is renewed, so clients keep the file that they have.

    Args:
        folder: Made where it is missing; readable by its owner only.
        names: Host names and addresses of the certificate besides this machine's own.

    Raises:
        OSError: the folder cannot be written.
    """
    files = SelfSigned(folder / "ca.pem", folder / "server.pem", folder / "server.key")
    wanted = _names(names)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if _is_good(files.certificate, wanted):
        return files
    authority, authority_key = _authority(files.ca, folder / "ca.key")
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "convscope server")])
    certificate = (
        _builder(subject, authority.subject, key, days=_DAYS)
        .add_extension(x509.SubjectAlternativeName([_general(name) for name in wanted]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    _write(files.key, _private(key))
    _write(files.certificate, certificate.public_bytes(serialization.Encoding.PEM))
    return files


def _authority(path: Path, key_path: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    if path.exists() and key_path.exists():
        key = serialization.load_pem_private_key(key_path.read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return x509.load_pem_x509_certificate(path.read_bytes()), key
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"convscope authority of {socket.gethostname()}"[:64])])
    certificate = (
        _builder(name, name, key, days=365 * _YEARS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    _write(key_path, _private(key))
    _write(path, certificate.public_bytes(serialization.Encoding.PEM))
    return certificate, key


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, *, days: int
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)  # a laptop's clock may be behind
        .not_valid_after(now + dt.timedelta(days=days))
    )


def _is_good(path: Path, wanted: list[str]) -> bool:
    if not path.exists():
        return False
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    present = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    named = {str(general.value) for general in present}
    return set(wanted) <= named and certificate.not_valid_after_utc - _RENEW_BEFORE > dt.datetime.now(dt.UTC)


def _names(names: Iterable[str]) -> list[str]:
    own = ["localhost", "127.0.0.1", "::1", socket.gethostname(), socket.getfqdn()]
    unspecified = {"0.0.0.0", "::", ""}  # noqa: S104 - left out
    return sorted({name.strip("[]") for name in (*own, *names)} - unspecified)


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, content: bytes) -> None:
    new = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
    new.replace(path)
