"""Whose technique it was, and how a run's error says so."""

from __future__ import annotations

from collections.abc import Sequence

from convscope_server.runs.events import Error

__all__ = ["Author", "EncoderAuthor", "crashed", "overgrown", "stalled"]


class Author:
    """Whose technique it is, for messages: id, package and version, and whose encoders worked in its turns as well."""

    __slots__ = ("encoders", "package", "technique", "version")

    def __init__(self, technique: str, package: str, version: str, encoders: Sequence[Author] = ()) -> None:
        self.technique = technique
        self.package = package
        self.version = version
        self.encoders = encoders

    def __str__(self) -> str:
        name = f"technique {self.technique} ({self.package} {self.version})".replace(" )", ")").replace(" ()", "")
        return " or of ".join([name, *map(str, self.encoders)])

    @property
    def metadata(self) -> dict[str, str]:
        """The same, for programs."""
        return {"technique": self.technique, "package": self.package, "version": self.version}


class EncoderAuthor(Author):
    """Whose artifact encoder it is: its media type in place of a technique."""

    __slots__ = ()

    def __str__(self) -> str:
        return f"the encoder of {self.technique} ({self.package} {self.version})".replace(" )", ")").replace(" ()", "")

    @property
    def metadata(self) -> dict[str, str]:
        """The same, for programs."""
        return {"media_type": self.technique, "package": self.package, "version": self.version}


def stalled(author: Author, seconds: float, reference: str) -> Error:
    """One step took too long, and was ended."""
    return Error(
        "DEADLINE_EXCEEDED",
        f"{author}: one step took longer than {seconds:.0f} s and was stopped; ask for less, or have its author yield "
        f"more often (reference {reference} in the server's log)",
        "STEP_STALLED",
        {**author.metadata, "reference": reference},
    )


def overgrown(author: Author, held: int, limit: int, reference: str) -> Error:
    """A run took more memory than it may."""
    return Error(
        "RESOURCE_EXHAUSTED",
        f"{author} took {held >> 20} MiB of memory where a run may take {limit >> 20}, and was stopped; ask for a "
        f"smaller size or fewer samples, or raise max_run_memory_bytes (reference {reference} in the server's log)",
        "RUN_MEMORY_EXCEEDED",
        {**author.metadata, "limit_bytes": str(limit), "reference": reference},
    )


def crashed(author: Author, device: str, why: str, reference: str) -> Error:
    """The worker died in this technique's turn."""
    return Error(
        "UNAVAILABLE",
        f"the worker of {device} {why} during a step of {author} and was replaced; what it said last is in the "
        f"server's log under reference {reference}",
        "WORKER_LOST",
        {**author.metadata, "device": device, "reference": reference},
    )
