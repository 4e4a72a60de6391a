"""What went wrong in a run, as the caller may know it. Tracebacks stay in the log, under a reference."""

from __future__ import annotations

import logging
import re
import secrets

from convscope_sdk.errors import TechniqueError
from convscope_server.errors import RequestError, error_of
from convscope_server.runs.events import Error

__all__ = ["Author", "fault"]

logger = logging.getLogger(__name__)

_OUT_OF_MEMORY = re.compile(r"out of memory|can't allocate memory|not enough memory", re.IGNORECASE)
_SIZE = re.compile(r"tried to allocate ([\d.]+ ?[KMGT]?i?B(?:ytes)?|\d+ bytes)", re.IGNORECASE)


class Author:
    """Whose technique it is, for messages: id, package and version."""

    __slots__ = ("package", "technique", "version")

    def __init__(self, technique: str, package: str, version: str) -> None:
        self.technique = technique
        self.package = package
        self.version = version

    def __str__(self) -> str:
        return f"technique {self.technique} ({self.package} {self.version})".replace(" )", ")")

    @property
    def metadata(self) -> dict[str, str]:
        """The same, for programs."""
        return {"technique": self.technique, "package": self.package, "version": self.version}


def fault(error: BaseException, author: Author, *, run: str, device: str) -> Error:
    """The error of a run that ended with this exception.

    A refusal keeps its own text. Running out of memory becomes RESOURCE_EXHAUSTED with what was asked for.
    Everything else is the technique's bug: its text stays in the log.
    """
    if isinstance(error, RequestError):
        return error.error
    if isinstance(error, TechniqueError):
        return error_of(error)
    if _is_out_of_memory(error):
        return _out_of_memory(error, device)
    reference = secrets.token_hex(4)
    logger.error("run %s: %s failed, reference %s", run, author, reference, exc_info=error)
    return Error(
        "INTERNAL",
        f"{author} failed; its author finds the traceback in the server's log under reference {reference}",
        "TECHNIQUE_FAILED",
        {**author.metadata, "reference": reference},
    )


def leak(author: Author, leaks: list[str]) -> Error:
    """The error of a run whose technique left traces behind."""
    return Error(
        "INTERNAL",
        f"{author} left {', '.join(leaks)} changed between two steps; the server put them back. "
        f"A technique restores what it changes before every yield",
        "TECHNIQUE_LEAKED",
        {**author.metadata, "leaks": ", ".join(leaks)},
    )


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError):
        return True
    # torch raises OutOfMemoryError on accelerators and a bare RuntimeError on the CPU.
    return isinstance(error, RuntimeError) and _OUT_OF_MEMORY.search(str(error)) is not None


def _out_of_memory(error: BaseException, device: str) -> Error:
    size = _SIZE.search(str(error))
    wanted = f" for {size[1]}" if size else ""
    return Error(
        "RESOURCE_EXHAUSTED",
        f"{device} has no memory{wanted}; ask for a smaller size, fewer samples, or unload a model that is not used",
        "OUT_OF_MEMORY",
        {"device": device, "requested": size[1] if size else ""},
    )
