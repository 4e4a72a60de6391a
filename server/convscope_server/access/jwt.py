"""JSON Web Tokens of an identity provider (RFC 7519, OpenID Connect Discovery 1.0)."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jwt

from convscope_server.access.principal import Principal
from convscope_server.access.watched_file import WatchedFile

__all__ = ["IdentityProviderUnreachableError", "JwtVerifier", "keys_of_file", "keys_of_issuer"]

_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA")  # none of them with a shared secret
_LEEWAY = 30.0
_PATIENCE = 5.0
_KEEP = 3600.0
_REFRESH = 10.0  # an unknown key asks for new ones, but not more often than this
_MAX_BYTES = 1 << 20

Keys = Callable[[str], Any]
"""The public key with an id, or None; may block."""


class IdentityProviderUnreachableError(Exception):
    """The issuer's keys cannot be had now; the text says why."""


class JwtVerifier:
    """Whom a JWT stands for: its signature, issuer, audience and times are checked; nothing else in it is believed.

    Args:
        issuer: What `iss` must be.
        audience: What `aud` must hold.
        keys: The issuer's public keys by id.
        name_claim: Claim that names the principal.
        admin_claim: Claim, a list of words, that makes an admin where it holds `admin_value`.
        admin_value: That word.
    """

    def __init__(
        self,
        issuer: str,
        audience: str,
        keys: Keys,
        *,
        name_claim: str = "sub",
        admin_claim: str = "roles",
        admin_value: str = "convscope-admin",
    ) -> None:
        self._issuer = issuer
        self._audience = audience
        self._keys = keys
        self._name_claim = name_claim
        self._admin_claim = admin_claim
        self._admin_value = admin_value

    def principal(self, token: str) -> Principal | None:
        """Whom it stands for; None where it is no valid token of this issuer for this audience. May block.

        Raises:
            IdentityProviderUnreachableError: its key has to be asked for, and cannot be.
        """
        try:
            claims = self._claims(token)
        except jwt.PyJWTError:
            return None
        name = claims.get(self._name_claim)
        if not isinstance(name, str) or not name:
            return None
        words = claims.get(self._admin_claim)
        return Principal(name, isinstance(words, list) and self._admin_value in words, "jwt")

    def _claims(self, token: str) -> dict[str, Any]:
        header = jwt.get_unverified_header(token)
        if header.get("alg") not in _ALGORITHMS:
            raise jwt.InvalidAlgorithmError
        key = self._keys(str(header.get("kid", "")))
        if key is None:
            raise jwt.InvalidKeyError
        return jwt.decode(
            token,
            key,
            algorithms=list(_ALGORITHMS),
            audience=self._audience,
            issuer=self._issuer,
            leeway=_LEEWAY,
            options={"require": ["exp", "iss", "aud"]},
        )


def keys_of_file(path: Path) -> Keys:
    """The keys of a JWKS file (RFC 7517), read again when it changes.

    Raises:
        OSError, ValueError: it cannot be read.
    """
    file = WatchedFile(path, _key_set)
    return lambda identifier: _chosen(file.value, identifier)


def keys_of_issuer(issuer: str) -> Keys:
    """The keys that an issuer publishes, asked for when first needed, hourly, and for an id not seen before."""
    return _IssuerKeys(issuer).get


class _IssuerKeys:
    def __init__(self, issuer: str) -> None:
        self._issuer = issuer.rstrip("/")
        self._lock = threading.Lock()
        self._keys: Mapping[str, Any] = {}
        self._asked = float("-inf")

    def get(self, identifier: str) -> Any:
        with self._lock:
            age = time.monotonic() - self._asked
            found = _chosen(self._keys, identifier)
            if age > _KEEP or (found is None and age > _REFRESH):
                self._keys = self._fetch()
                self._asked = time.monotonic()
                found = _chosen(self._keys, identifier)
            return found

    def _fetch(self) -> Mapping[str, Any]:
        try:
            found = json.loads(_get(f"{self._issuer}/.well-known/openid-configuration"))
            return _key_set(_get(str(found["jwks_uri"])))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise IdentityProviderUnreachableError(f"{self._issuer}: {error}") from error


def _get(url: str) -> bytes:
    if not url.startswith(("https://", "http://127.0.0.1:", "http://localhost:", "http://[::1]:")):
        raise ValueError(f"{url} is not https")
    with urllib.request.urlopen(url, timeout=_PATIENCE) as response:  # noqa: S310 - the scheme has been checked
        content: bytes = response.read(_MAX_BYTES)
    return content


def _key_set(content: bytes) -> Mapping[str, Any]:
    try:
        keys = jwt.PyJWKSet.from_json(content.decode()).keys
    except (jwt.PyJWTError, UnicodeDecodeError, AttributeError) as error:
        raise ValueError(f"is no set of JSON Web Keys: {error}") from error
    return {key.key_id or "": key.key for key in keys}


def _chosen(keys: Mapping[str, Any], identifier: str) -> Any:
    """The key of that id; a token without one means the only key there is."""
    if not identifier and len(keys) == 1:
        return next(iter(keys.values()))
    return keys.get(identifier)
