"""Where a watcher is in a run's log, and when to try again.

No I/O and no clock: the sync and the async client share it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from convscope.errors import ConnectionLost, ConvscopeError, Internal
from convscope.events import RunEvent

__all__ = ["UNREACHABLE", "Backoff", "Cursor", "is_broken_connection", "wait_to_repeat"]

UNREACHABLE = "UNREACHABLE"
"""Reason of an Unavailable error that says: nobody answered at all, so nothing was accepted either."""

_TRANSPORT_CODES = frozenset({"UNAVAILABLE", "INTERNAL", "UNKNOWN", "CANCELLED"})


def is_broken_connection(error: ConvscopeError) -> bool:
    """Whether the connection broke, rather than the server refused.

    Every refusal of the server has a reason. A reset or half-closed stream has none and may come with any of
    several codes, depending on which end and which proxy noticed it.
    """
    if error.code == "UNAVAILABLE":
        return True
    return error.code in _TRANSPORT_CODES and not error.reason


@dataclass(slots=True)
class Backoff:
    """Capped exponential waiting with jitter, up to a time at which to give up.

    Attributes:
        give_up_after: Seconds without a sign of life.
        first, longest: Bounds of one wait in seconds; jitter takes up to half of it away.
    """

    give_up_after: float = 300.0
    first: float = 0.1
    longest: float = 5.0
    rng: random.Random = field(default_factory=random.Random)
    failures: int = 0
    _silent_since: float | None = None

    def wait(self, now: float) -> float | None:
        """Seconds to wait before the next attempt, or None: give up. `now` is any monotonic clock."""
        if self._silent_since is None:
            self._silent_since = now
        left = self.give_up_after - (now - self._silent_since)
        if left <= 0:
            return None
        longest = min(self.longest, self.first * 2.0 ** min(self.failures, 30))
        self.failures += 1
        return min(left, longest * self.rng.uniform(0.5, 1.0))

    def alive(self) -> None:
        """Something came: the next trouble starts from the beginning."""
        self.failures, self._silent_since = 0, None


def wait_to_repeat(error: ConvscopeError, backoff: Backoff, now: float) -> float:
    """Seconds to wait before a call is made again whose answer was lost on the way.

    Raises:
        ConvscopeError: the error itself where the server refused, where nobody answers, or in the end.
    """
    wait = None if error.reason or not is_broken_connection(error) else backoff.wait(now)
    if wait is None:
        raise error
    return wait


@dataclass(slots=True)
class Cursor:
    """Reads a run's log exactly once through any number of broken streams.

    Attributes:
        run_id: Empty until the first event names it.
        sequence: The last place seen; the next stream starts after it.
        finished: The last event of the run was seen.
        began: The server is known to have answered; until then nobody there means: say so at once.
    """

    run_id: str = ""
    sequence: int = 0
    finished: bool = False
    began: bool = False
    backoff: Backoff = field(default_factory=Backoff)
    _hole_at: int | None = None

    def submitted(self, run_id: str) -> None:
        """The run was accepted under this id, and none of its events was seen yet."""
        self.run_id, self.began = run_id, True
        self.backoff.alive()

    def take(self, event: RunEvent) -> bool:
        """Whether the event is new.

        Raises:
            Internal: it belongs to another run, or events in front of it are missing. The first such hole is
                repaired by reading again (`lost`), the second time at the same place it is the server's bug.
        """
        if self.run_id and event.run_id != self.run_id:
            raise Internal(
                f"an event of run {event.run_id} came while watching {self.run_id}; report it with the server's log",
                reason="WRONG_RUN",
                run_id=self.run_id,
            )
        first, last = event.gap or (event.sequence, event.sequence)
        if last <= self.sequence:
            return False
        if first > self.sequence + 1:
            raise self._hole(first)
        self.run_id, self.sequence, self.finished = event.run_id, last, event.ends_run
        self._hole_at, self.began = None, True
        self.backoff.alive()
        return True

    def _hole(self, first: int) -> Internal:
        again = self._hole_at == self.sequence
        self._hole_at = self.sequence
        # Without a reason it counts as a broken connection, and the log is read again from here.
        return Internal(
            f"events {self.sequence + 1} to {first - 1} of run {self.run_id} did not come; "
            "report it with the server's log",
            reason="EVENTS_MISSING" if again else "",
            run_id=self.run_id,
        )

    def lost(self, error: ConvscopeError, now: float) -> float:
        """Seconds to wait before the stream is opened again.

        Raises:
            ConvscopeError: the error itself where trying again cannot help: the server refused, or the very
                first attempt reached nobody.
            ConnectionLost: it has been tried for long enough.
        """
        if not is_broken_connection(error) or self._never_began(error):
            raise error
        wait = self.backoff.wait(now)
        if wait is None:
            raise self._gave_up(error) from error
        return wait

    def _never_began(self, error: ConvscopeError) -> bool:
        return error.reason == UNREACHABLE and not self.began and not self.backoff.failures

    def _gave_up(self, error: ConvscopeError) -> ConnectionLost:
        after = f"{self.backoff.give_up_after:g} s"
        if not self.run_id:
            return ConnectionLost(f"no answer for {after}, so the run may not exist: {error.message}")
        again = f"client.attach({self.run_id!r}, after_sequence={self.sequence})"
        return ConnectionLost(
            f"no word of run {self.run_id} for {after}: {error.message}; {again} goes on from here",
            run_id=self.run_id,
            reason="CONNECTION_LOST",
            metadata={"after_sequence": str(self.sequence)},
        )
