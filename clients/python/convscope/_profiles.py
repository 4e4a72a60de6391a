"""What a laptop knows of its servers: a file of profiles, and the environment."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Self

from convscope.errors import InvalidArgument

__all__ = ["Access", "look_up", "profiles_file"]


@dataclass(frozen=True, slots=True)
class Access:
    """How to be let in by a server; None leaves a thing open.

    Attributes:
        token: Sent with every call.
        ca: PEM file of the authority that signed the server's certificate, or "system" for those of the machine.
        cert, key: PEM files of this client's own certificate and private key.
    """

    token: str | None = None
    ca: str | None = None
    cert: str | None = None
    key: str | None = None

    @classmethod
    def of(
        cls,
        token: str | None,
        ca: str | os.PathLike[str] | None,
        cert: str | os.PathLike[str] | None,
        key: str | os.PathLike[str] | None,
    ) -> Self:
        """With paths of any kind."""
        return cls(token, *(None if path is None else os.fspath(path) for path in (ca, cert, key)))

    def or_else(self, other: Access) -> Access:
        """This, and what it leaves open as `other` has it."""
        gaps = {f.name: getattr(other, f.name) for f in fields(self) if getattr(self, f.name) is None}
        return replace(self, **gaps)


def profiles_file(env: Mapping[str, str] | None = None) -> Path:
    """The file of profiles: CONVSCOPE_PROFILES, or convscope/profiles.toml where the system keeps settings."""
    env = os.environ if env is None else env
    home = Path(env.get("XDG_CONFIG_HOME") or Path(env.get("HOME", "~")).expanduser() / ".config")
    return Path(env.get("CONVSCOPE_PROFILES") or home / "convscope" / "profiles.toml")


def look_up(target: str, given: Access, env: Mapping[str, str] | None = None) -> tuple[str, Access]:
    """The address that `target` means, and how to be let in there.

    Arguments count first, then CONVSCOPE_TOKEN and CONVSCOPE_CA, then the profile of that name or that server:

        [lab]
        server = "gpu-box:8470"
        token = "cvs_…"
        ca = "lab-ca.pem"        # relative to the file

    Raises:
        InvalidArgument: the file cannot be used; the message says where.
    """
    env = os.environ if env is None else env
    server, profile = _profile(target, profiles_file(env))
    around = Access(token=env.get("CONVSCOPE_TOKEN") or None, ca=env.get("CONVSCOPE_CA") or None)
    return server, given.or_else(around).or_else(profile)


def _profile(target: str, file: Path) -> tuple[str, Access]:
    for name, table in _tables(file).items():
        if not isinstance(table, dict):
            raise InvalidArgument(f"{file}: {name} is no table; write [NAME] and below it server = …")
        known = {"server", *(field.name for field in fields(Access))}
        wrong = sorted(key for key, value in table.items() if key not in known or not isinstance(value, str))
        if wrong or "server" not in table:
            hint = f"{', '.join(sorted(known))} are texts, and server is there"
            raise InvalidArgument(f"{file}: [{name}]: {wrong[0] if wrong else 'server'}: in a profile {hint}")
        if target in {name, table["server"]}:
            found = {key: value for key, value in table.items() if key != "server"}
            files = {key: str(file.parent / Path(value).expanduser()) for key, value in found.items() if key in _FILES}
            files = {key: "system" if found[key] == "system" else path for key, path in files.items()}
            return table["server"], Access(**{**found, **files})
    return target, Access()


_FILES = ("ca", "cert", "key")


def _tables(file: Path) -> dict[str, object]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise InvalidArgument(f"{file}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"{file}: is no TOML file: {error}") from error
