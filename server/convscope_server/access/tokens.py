"""Bearer tokens: made here, shown once, kept as hashes in a file."""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import os
import re
import secrets
import time
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from convscope_server.access.principal import Principal
from convscope_server.access.watched_file import WatchedFile

__all__ = ["TokenEntry", "Tokens", "TokensFileError", "create_token", "read_tokens", "revoke_tokens"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_HASH = re.compile(r"sha256:[0-9a-f]{64}")
_PREFIX = "cvs_"
_KEYS = {"id", "name", "hash", "admin", "created", "expires"}
_HEADER = (
    "# Tokens of a convscope server, as hashes. `convscope token create NAME` adds one; a running server notices.\n"
)


class TokensFileError(ValueError):
    """The tokens file cannot be used; the message names the file, the entry and what is wrong."""


@dataclass(frozen=True, slots=True)
class TokenEntry:
    """A token as its server knows it.

    Attributes:
        id: Names it in lists and logs.
        name: The principal that it stands for.
        hash: "sha256:…" of the token. No salt: a token is 256 random bits, and no dictionary has it.
        admin: Whether the principal is an admin.
        created, expires: Unix seconds; `expires` is None for never.
    """

    id: str
    name: str
    hash: str
    admin: bool = False
    created: float = 0.0
    expires: float | None = None


class Tokens:
    """The tokens of a file, read again when it changes.

    Raises:
        TokensFileError: the file is missing or cannot be used.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = WatchedFile(path, lambda content: parse_tokens(content, str(path)))
        except OSError as error:
            hint = f"make one with `convscope token create NAME --tokens-file {path}`"
            raise TokensFileError(f"{path}: cannot be read: {error.strerror}; {hint}") from None

    def principal(self, token: str) -> Principal | None:
        """Whom the token stands for; None where it is unknown or has expired. Takes as long for any token."""
        mark = _hash(token)
        found = None
        for entry in self._file.value:
            if hmac.compare_digest(entry.hash, mark) and not _expired(entry):
                found = Principal(entry.name, entry.admin, "token")
        return found


def create_token(path: Path, name: str, *, admin: bool = False, days: float | None = None) -> tuple[str, TokenEntry]:
    """Add a new token to the file, which is made where it is missing; gives the token, which is nowhere else.

    Raises:
        TokensFileError: the name is not of the allowed form, or the file cannot be used.
    """
    if not _NAME.fullmatch(name):
        raise TokensFileError(
            f"{name!r} is no name for a principal: letters, digits, and any of . _ @ - inside, up to 64"
        )
    token = _PREFIX + secrets.token_urlsafe(32)
    now = time.time()
    entry = TokenEntry(secrets.token_hex(4), name, _hash(token), admin, now, now + days * 86400 if days else None)
    with _editing(path) as entries:
        entries.append(entry)
    return token, entry


def revoke_tokens(path: Path, which: str) -> list[TokenEntry]:
    """Take the token of that id, or every token of the principal of that name, out of the file; gives those.

    Raises:
        TokensFileError: the file cannot be used.
    """
    with _editing(path) as entries:
        gone = [entry for entry in entries if which in {entry.id, entry.name}]
        entries[:] = [entry for entry in entries if entry not in gone]
    return gone


def read_tokens(path: Path) -> list[TokenEntry]:
    """The tokens of a file.

    Raises:
        TokensFileError: the file cannot be used.
    """
    try:
        return list(parse_tokens(path.read_bytes(), str(path)))
    except OSError as error:
        raise TokensFileError(f"{path}: cannot be read: {error.strerror}") from None


def parse_tokens(content: bytes, path: str) -> Sequence[TokenEntry]:
    """The tokens that a file's bytes hold: TOML, `[[tokens]]` each.

    Raises:
        TokensFileError: it is no TOML, or an entry is not one.
    """
    try:
        tables = tomllib.loads(content.decode()).get("tokens", [])
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TokensFileError(f"{path}: is no TOML file: {error}") from None
    if not isinstance(tables, list):
        raise TokensFileError(f"{path}: tokens is no table; write [[tokens]]")
    return [_entry(table, f"{path}: token {number}") for number, table in enumerate(tables, 1)]


def _entry(table: object, place: str) -> TokenEntry:
    if not isinstance(table, dict):
        raise TokensFileError(f"{place}: is no table; write [[tokens]]")
    if unknown := table.keys() - _KEYS:
        raise TokensFileError(f"{place}: no such key {min(unknown)!r}; there are {', '.join(sorted(_KEYS))}")
    name, mark, admin = table.get("name"), table.get("hash"), table.get("admin", False)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise TokensFileError(f"{place}: name is {name!r}, not a principal's name")
    if not isinstance(mark, str) or not _HASH.fullmatch(mark):
        raise TokensFileError(
            f"{place}: hash is not sha256: and 64 hexadecimal digits; tokens are never kept themselves"
        )
    identifier = table.get("id", str(mark)[7:15])
    if not isinstance(identifier, str) or not _NAME.fullmatch(identifier):
        raise TokensFileError(f"{place}: id is {identifier!r}; letters and digits name a token")
    if not isinstance(admin, bool):
        raise TokensFileError(f"{place}: admin is true or false")
    created, expires = (_seconds(table.get(key), f"{place}: {key}") for key in ("created", "expires"))
    return TokenEntry(identifier, name, mark, admin, created or 0.0, expires)


def _seconds(value: object, place: str) -> float | None:
    if value is None:
        return None
    if not isinstance(value, datetime):
        raise TokensFileError(f"{place} is no date and time, such as 2027-01-31T00:00:00Z")
    return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()


@contextmanager
def _editing(path: Path) -> Iterator[list[TokenEntry]]:
    """The entries of the file, written back whole: nobody ever reads half a file, and two editors take turns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(path.name + ".lock")
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        entries = read_tokens(path) if path.exists() else []
        yield entries
        new = path.with_name(f".{path.name}.{os.getpid()}")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(_HEADER + "".join(map(_written, entries)))
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)


def _written(entry: TokenEntry) -> str:
    lines = ["", "[[tokens]]", f'id = "{entry.id}"', f'name = "{entry.name}"', f'hash = "{entry.hash}"']
    lines += ["admin = true"] if entry.admin else []
    lines.append(f"created = {_moment(entry.created)}")
    lines += [f"expires = {_moment(entry.expires)}"] if entry.expires is not None else []
    return "\n".join(lines) + "\n"


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def _expired(entry: TokenEntry) -> bool:
    return entry.expires is not None and time.time() >= entry.expires


def _hash(token: str) -> str:
    return f"sha256:{hashlib.sha256(token.encode()).hexdigest()}"
