"""A technique by its id, as a server would find it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from convscope_sdk.errors import NotApplicable, UnknownName
from convscope_sdk.loader import Loader
from convscope_sdk.technique import Technique

__all__ = ["find"]


def find(identifier: str, plugin_files: Iterable[str | os.PathLike[str]] = ()) -> Technique[Any]:
    """The technique of that id, from the installed plugins and these files.

    Raises:
        NotApplicable: a plugin file could not be loaded; says why.
        UnknownName: nobody offers it; carries near names, and the plugins that could not be loaded.
    """
    loader = Loader()
    loader.load_entry_points()
    for path in plugin_files:
        loader.load_file(path)
    plugins = loader.plugins
    if identifier in plugins.techniques:
        return plugins.techniques[identifier].technique
    files = {str(path) for path in plugin_files}
    for report in plugins.reports:
        if report.name in files and not report.ok:
            raise NotApplicable(f"plugin {report.name!r} is not loaded: {report.reason}", reason="PLUGIN_FAILED")
    failed = "; ".join(f"plugin {r.name!r} of {r.package}: {r.reason}" for r in plugins.reports if r.reason)
    raise UnknownName.among("technique", identifier, plugins.techniques, hint=failed)
