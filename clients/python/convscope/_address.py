"""Where a server is, and how to speak to it."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from convscope._methods import SLOW
from convscope._profiles import Access, look_up
from convscope.errors import InvalidArgument

if TYPE_CHECKING:
    import grpc

__all__ = ["DEFAULT_PORT", "Address", "Tls"]

DEFAULT_PORT = 8470


@dataclass(frozen=True, slots=True)
class Tls:
    """What TLS is spoken with: PEM bytes of the authorities to trust (None: the machine's), and the own certificate."""

    roots: bytes | None = None
    key: bytes | None = None
    certificate: bytes | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """For a channel."""
        import grpc

        return grpc.ssl_channel_credentials(self.roots, self.key, self.certificate)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is and how to speak to it.

    Attributes:
        target: "host:port".
        token: Sent with every call, or None.
        tls: None speaks without TLS.
        timeout: Seconds that a call waits for its answer; loading a model is exempt, streams are too.
    """

    target: str
    token: str | None = None
    tls: Tls | None = None
    timeout: float = 60.0

    @classmethod
    def of(cls, target: str, access: Access | None = None, *, timeout: float = 60.0) -> Self:
        """The address as a user gives it: host:port, the port may be left out (8470), or the name of a profile.

        Raises:
            InvalidArgument: it is a URL, a file cannot be read, or the token would travel in the clear.
        """
        if "://" in target or not target:
            raise InvalidArgument(f"a server is written host:port, such as gpu-box:{DEFAULT_PORT}, not {target!r}")
        target, access = look_up(target, access or Access())
        host, port = _split(target)
        if access.token is not None and access.ca is None and not _is_loopback(host):
            tunnel = f"ssh -L {DEFAULT_PORT}:localhost:{DEFAULT_PORT} {host}"
            raise InvalidArgument(
                f"the token would travel to {host} in the clear: give the server's certificate authority with ca= "
                f'("system" for a public one), or come in through `{tunnel}`'
            )
        return cls(f"{host}:{port}", access.token, _tls(access), timeout)

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What goes along with every call."""
        return () if self.token is None else (("authorization", f"Bearer {self.token}"),)

    def timeout_of(self, path: str) -> float | None:
        """The deadline of a call without streams."""
        return None if path in SLOW else self.timeout


def _tls(access: Access) -> Tls | None:
    if (access.cert is None) != (access.key is None):
        raise InvalidArgument("cert and key go together: this client's certificate, and its private key")
    if access.ca is None:
        if access.cert is not None:
            raise InvalidArgument('a certificate takes TLS: give ca= too ("system" for a public authority)')
        return None
    roots = None if access.ca == "system" else _read(access.ca, "certificate authority")
    if access.cert is None or access.key is None:
        return Tls(roots)
    return Tls(roots, _read(access.key, "private key"), _read(access.cert, "certificate"))


def _split(target: str) -> tuple[str, str]:
    host, colon, port = target.rpartition(":")
    if not colon or (":" in host and not host.endswith("]")):  # No port, or a bare IPv6 address.
        host, port = target, str(DEFAULT_PORT)
    return (f"[{host}]" if ":" in host and not host.startswith("[") else host), port


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _read(path: str, what: str) -> bytes:
    try:
        return Path(path).expanduser().read_bytes()
    except OSError as error:
        raise InvalidArgument(f"cannot read the {what} {path!r}: {error.strerror}") from error
