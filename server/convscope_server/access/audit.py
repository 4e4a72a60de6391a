"""One line for every decision about a caller. No token and no picture ever comes into it."""

from __future__ import annotations

import logging

from convscope_server.access.principal import Principal

__all__ = ["allowed", "denied"]

_log = logging.getLogger("convscope_server.audit")


def allowed(principal: Principal, rpc: str, peer: str) -> None:
    """Somebody was let through."""
    _log.info("allowed rpc=%s principal=%r admin=%s means=%s peer=%s", rpc, *_who(principal), peer)


def denied(principal: Principal | None, rpc: str, peer: str, reason: str) -> None:
    """Somebody was not: unknown (no principal), or not allowed this."""
    who = principal or Principal("", means="none")
    _log.warning("denied rpc=%s principal=%r admin=%s means=%s peer=%s reason=%s", rpc, *_who(who), peer, reason)


def _who(principal: Principal) -> tuple[str, str, str]:
    return principal.name, str(principal.admin).lower(), principal.means
