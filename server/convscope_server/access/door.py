"""Where callers are let in, or not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from convscope_server.access.jwt import IdentityProviderUnreachableError, JwtVerifier
from convscope_server.access.principal import LOCAL, Principal
from convscope_server.access.tokens import Tokens
from convscope_server.errors import RequestError

__all__ = ["ADMIN_ONLY", "Door", "authorise"]

ADMIN_ONLY = frozenset({"ModelAdminService"})
"""Services that take an admin: they change what everybody shares, or show what everybody does."""

_BEARER = "bearer "
_HOW = (
    "send `authorization: Bearer TOKEN`: convscope.connect(…, token=…), or CONVSCOPE_TOKEN; "
    "whoever runs the server makes one with `convscope token create NAME`"
)


@dataclass(frozen=True, slots=True)
class Door:
    """Asks callers who they are.

    Attributes:
        tokens: Bearer tokens of this server, or None.
        jwt: Tokens of an identity provider, or None.
        certificates: Whether the common name of a client's certificate names a principal.
        admins: Principals who are admins, however they were let in.
    """

    tokens: Tokens | None = None
    jwt: JwtVerifier | None = None
    certificates: bool = False
    admins: frozenset[str] = frozenset()

    @property
    def asks(self) -> bool:
        """Whether anybody has to show anything."""
        return bool(self.tokens or self.jwt or self.certificates)

    async def admit(self, metadata: Iterable[tuple[str, str | bytes]], names: Sequence[str]) -> Principal:
        """Who the caller is.

        Args:
            metadata: What came with the call.
            names: Common names of the client's verified certificate.

        Raises:
            RequestError: UNAUTHENTICATED, TOKEN_MISSING or TOKEN_INVALID; UNAVAILABLE,
                IDENTITY_PROVIDER_UNREACHABLE.
        """
        if not self.asks:
            return LOCAL
        found = await self._by_token(metadata)
        if found is None and self.certificates and names:
            found = Principal(names[0], means="certificate")
        if found is None:
            raise RequestError.of("UNAUTHENTICATED", "TOKEN_MISSING", f"this server asks who you are: {_HOW}")
        return replace(found, admin=found.admin or found.name in self.admins)

    async def _by_token(self, metadata: Iterable[tuple[str, str | bytes]]) -> Principal | None:
        given = next((value for key, value in metadata if key == "authorization"), None)
        if given is None or not (self.tokens or self.jwt):
            return None
        if not isinstance(given, str) or not given.lower().startswith(_BEARER):
            raise _invalid("the authorization that came is no bearer token")
        token = given[len(_BEARER) :].strip()
        found = self.tokens.principal(token) if self.tokens else None
        if found is None and self.jwt is not None:
            try:
                found = await asyncio.to_thread(self.jwt.principal, token)
            except IdentityProviderUnreachableError as error:
                message = f"the identity provider does not answer, so nobody can be let in by it: {error}"
                raise RequestError.of("UNAVAILABLE", "IDENTITY_PROVIDER_UNREACHABLE", message) from error
        if found is None:
            raise _invalid("the token is unknown, revoked, expired, or meant for somebody else")
        return found


def authorise(principal: Principal, service: str, rpc: str) -> None:
    """Lets a call through that its caller may make.

    Raises:
        RequestError: PERMISSION_DENIED, ADMIN_ONLY.
    """
    if service in ADMIN_ONLY and not principal.admin:
        raise RequestError.of(
            "PERMISSION_DENIED",
            "ADMIN_ONLY",
            f"{service}.{rpc} is for admins, and {principal.name} is none; ask whoever runs the server",
            metadata={"principal": principal.name},
        )


def _invalid(what: str) -> RequestError:
    return RequestError.of("UNAUTHENTICATED", "TOKEN_INVALID", f"{what}; {_HOW}")
