"""The door of a server, as its settings have it."""

from __future__ import annotations

from convscope_server.access.door import Door
from convscope_server.access.jwt import JwtVerifier, keys_of_file, keys_of_issuer
from convscope_server.access.tokens import Tokens
from convscope_server.config import Settings, SettingsError

__all__ = ["door_of"]


def door_of(settings: Settings) -> Door:
    """Who is let in, and by what.

    Raises:
        SettingsError: a file that the settings name cannot be used.
    """
    try:
        tokens = Tokens(settings.tokens_file) if settings.tokens_file is not None else None
        return Door(
            tokens=tokens,
            jwt=_verifier(settings),
            certificates=settings.tls_client_ca is not None,
            admins=frozenset(settings.admins),
        )
    except (OSError, ValueError) as error:
        raise SettingsError(str(error)) from error


def _verifier(settings: Settings) -> JwtVerifier | None:
    if not settings.oidc_issuer:
        return None
    file = settings.oidc_jwks_file
    return JwtVerifier(
        settings.oidc_issuer,
        settings.oidc_audience,
        keys_of_issuer(settings.oidc_issuer) if file is None else keys_of_file(file),
        name_claim=settings.oidc_name_claim,
        admin_claim=settings.oidc_admin_claim,
        admin_value=settings.oidc_admin_value,
    )
