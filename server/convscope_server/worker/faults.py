"""What went wrong in a run, as the caller may know it. Tracebacks stay in the log, under a reference."""

from __future__ import annotations

import logging
import re
import secrets

from convscope_sdk.errors import TechniqueError
from convscope_server.engine.blame import Author, EncoderAuthor, overgrown, stalled
from convscope_server.engine.messages import Overgrown, Stalled
from convscope_server.errors import RequestError, error_of
from convscope_server.room import StorageFullError, says_full
from convscope_server.runs.events import Error
from convscope_server.worker.encode import EncodingError

__all__ = ["broken", "fault", "is_out_of_memory", "leak", "litter", "overdue", "spoils_device"]

logger = logging.getLogger(__name__)

_OUT_OF_MEMORY = re.compile(r"out of memory|can't allocate memory|not enough memory", re.IGNORECASE)
_SIZE = re.compile(r"tried to allocate ([\d.]+ ?[KMGT]?i?B(?:ytes)?|\d+ bytes)", re.IGNORECASE)


def fault(error: BaseException, author: Author, *, run: str, device: str) -> Error:
    """The error of a run that ended with this exception.

    A refusal keeps its own text. Running out of memory becomes RESOURCE_EXHAUSTED with what was asked for, and so does
    a full disk.
    Everything else is the bug of the technique, or of the encoder of its results: its text stays in the log.
    """
    if isinstance(error, EncodingError):
        return fault(error.cause, error.author, run=run, device=device)
    if isinstance(error, RequestError):
        return error.error
    if isinstance(error, TechniqueError):
        return error_of(error)
    if says_full(error):
        return StorageFullError().error
    if is_out_of_memory(error):
        return _out_of_memory(error, device)
    reference = secrets.token_hex(4)
    logger.error("run %s: %s failed, reference %s", run, author, reference, exc_info=error)
    return Error(
        "INTERNAL",
        f"{author} failed; its author finds the traceback in the server's log under reference {reference}",
        "ENCODER_FAILED" if isinstance(author, EncoderAuthor) else "TECHNIQUE_FAILED",
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


def litter(author: Author, left: list[str]) -> Error:
    """The error of a run whose technique left behind what nobody else can take away."""
    return Error(
        "INTERNAL",
        f"{author} left {' and '.join(left)} behind; a technique ends what it starts, in a finally block",
        "TECHNIQUE_LEAKED",
        {**author.metadata, "leaks": ", ".join(left)},
    )


def broken(verdict: Stalled | Overgrown, author: Author, *, run: str) -> Error:
    """The error of a run that broke a limit and could be stopped."""
    reference = secrets.token_hex(4)
    logger.error("run %s: %s broke a limit, reference %s: %s", run, author, reference, verdict)
    if isinstance(verdict, Stalled):
        return stalled(author, verdict.seconds, reference)
    return overgrown(author, verdict.held, verdict.limit, reference)


def overdue(attained: float) -> Error:
    """The error of a run whose deadline passed after so many device seconds."""
    return Error(
        "DEADLINE_EXCEEDED",
        f"the run's deadline passed after {attained:.1f} s on the device; ask for a later one, or for less",
        "RUN_DEADLINE_EXCEEDED",
    )


def spoils_device(error: BaseException) -> bool:
    """Whether nothing can be computed on the device any more by this process: a failed assertion on a GPU, say."""
    return isinstance(error, RuntimeError) and "CUDA error" in str(error) and not is_out_of_memory(error)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the device or the machine had no more memory."""
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
