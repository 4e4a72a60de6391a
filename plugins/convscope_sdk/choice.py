"""Which installed plugins may be loaded."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

__all__ = ["PluginChoice"]


@dataclass(frozen=True, slots=True)
class PluginChoice:
    """Patterns ("convscope-captum", "acme-*") that are held against a plugin's distribution and its entry point's name.

    Attributes:
        allow: Who may be loaded; None: everybody, (): nobody but the built-ins.
        deny: Who may not, whatever `allow` says.
        elsewhere: Who is loaded by another worker, and not even listed here.
    """

    allow: tuple[str, ...] | None = None
    deny: tuple[str, ...] = ()
    elsewhere: tuple[str, ...] = ()

    def passes_over(self, name: str, package: str) -> bool:
        """Whether the plugin is another worker's."""
        return _any_fits(self.elsewhere, name, package)

    def refusal(self, name: str, package: str) -> str:
        """Why the plugin may not be loaded; "" where it may."""
        if _any_fits(self.deny, name, package):
            return "denied by the setting deny_plugins"
        if self.allow is not None and not _any_fits(self.allow, name, package):
            return "not among those that the setting allow_plugins names"
        return ""


def _any_fits(patterns: Iterable[str], name: str, package: str) -> bool:
    names = {_plain(name), _plain(package)} - {""}
    return any(fnmatchcase(each, _plain(pattern)) for pattern in patterns for each in names)


def _plain(name: str) -> str:
    """Distributions are the same under "Acme_Maps" and "acme-maps"."""
    return re.sub(r"[-_.]+", "-", name).lower()
