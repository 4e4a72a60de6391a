"""Why no call gets through to a server, told from what gRPC says of the attempt."""

from __future__ import annotations

__all__ = ["why_unreached"]

_NO_TLS = "the server at {target} does not speak TLS: leave ca= and cert= out"
_UNKNOWN_AUTHORITY = (
    "the certificate of {target} is signed by nobody whom ca= names: give the server's own authority, such as the "
    "tls/ca.pem of its data directory"
)
_OTHER_NAME = "the certificate of {target} is made out to another name: use that one, or serve with --tls-names"
_HANGS_UP = (
    'something at {target} takes the connection and hangs up: a server with TLS wants ca= ("system" for a public '
    "authority), one that asks for certificates cert= and key= as well"
)
_NOBODY = "no convscope server answers at {target}: is `convscope serve` running there?"

# What gRPC and the TLS library under it write, and what it means.
_SIGNS = {
    "WRONG_VERSION_NUMBER": _NO_TLS,
    "CERTIFICATE_VERIFY_FAILED": _UNKNOWN_AUTHORITY,
    "certificate signature failure": _UNKNOWN_AUTHORITY,
    "Hostname Verification": _OTHER_NAME,
    "Socket closed": _HANGS_UP,
}


def why_unreached(target: str, details: str) -> str:
    """What is wrong, and what to do about it."""
    meaning = next((meaning for sign, meaning in _SIGNS.items() if sign in details), _NOBODY)
    return f"{meaning.format(target=target)} ({details})"
