"""The runs that wait for a device, each principal's in their own line."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator

from convscope_server.priority import RANK
from convscope_server.runs.ledger import Ledger
from convscope_server.runs.limits import PrincipalLimits
from convscope_server.runs.live import LiveRun

__all__ = ["RunQueue"]

_Key = tuple[float, ...]


class RunQueue:
    """Whose run starts next: of the principal with none on a device, then of the one who has had least of them.

    Within a principal's line the more urgent run is first, then the earlier one. A run gains a rank with each
    `ageing` seconds that it waits. Batch runs of anybody start after everybody's others.

    Args:
        ledger: Who has how much.
        ageing: Seconds of waiting that are worth a rank.
        limits: Bounds for each principal. Whoever has reached them waits, and holds up nobody.
        now: The clock, in Unix seconds.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        ageing: float = 60.0,
        limits: PrincipalLimits | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._ledger = ledger
        self._ageing = ageing
        self._limits = limits or PrincipalLimits()
        self._now = now
        self._runs: OrderedDict[str, LiveRun] = OrderedDict()

    def __len__(self) -> int:
        return len(self._runs)

    def __contains__(self, live: LiveRun) -> bool:
        return live.id in self._runs

    def first(self, may_start: Callable[[LiveRun], bool]) -> LiveRun | None:
        """The run whose turn it is, of those that may start; None where nobody may have another one on a device."""
        now = self._now()
        held_up = {owner for owner in {live.request.owner for live in self._runs.values()} if self._held_up(owner)}
        startable = (live for live in self._runs.values() if live.request.owner not in held_up and may_start(live))
        return min(startable, key=lambda live: self._key(live, now), default=None)

    def push(self, live: LiveRun) -> None:
        """Add a run behind all others of its principal and rank."""
        self._ledger.came(live.request.owner)
        # From now: one that gave way, and were urgent by its age, would go before those that it gave way to, for ever.
        live.in_front, live.waits_since = False, self._now()
        self._runs[live.id] = live

    def push_front(self, live: LiveRun) -> None:
        """Add a run in front of all others of its principal: it had its turn and lost it."""
        self.push(live)
        live.in_front = True
        self._runs.move_to_end(live.id, last=False)

    def put_back(self, live: LiveRun) -> None:
        """Add a run that was taken out and could not start: it is as urgent as before, and first of its rank."""
        self._ledger[live.request.owner].waiting += 1
        self._runs[live.id] = live
        self._runs.move_to_end(live.id, last=False)

    def remove(self, live: LiveRun) -> bool:
        """Take a run out; False where it does not wait."""
        if self._runs.pop(live.id, None) is None:
            return False
        self._ledger[live.request.owner].waiting -= 1
        return True

    def in_order(self) -> Iterator[LiveRun]:
        """The runs as they would start if all took equally long: principals in turns."""
        now = self._now()
        lines: dict[str, list[LiveRun]] = {}
        for live in sorted(self._runs.values(), key=lambda live: self._key(live, now)):
            lines.setdefault(live.request.owner, []).append(live)
        rounds = max(map(len, lines.values()), default=0)
        for index in range(rounds):
            yield from (line[index] for line in lines.values() if index < len(line))

    def _held_up(self, owner: str) -> bool:
        running, seconds = self._limits.running, self._limits.device_seconds
        if running and self._ledger[owner].running >= running:
            return True
        return seconds > 0 and self._ledger.last_hour(owner) >= seconds

    def _key(self, live: LiveRun, now: float) -> _Key:
        account = self._ledger[live.request.owner]
        rank = RANK[live.request.priority] - (now - live.waits_since) // self._ageing
        behind = rank >= RANK["batch"]
        return (behind, account.running > 0, account.clock, not live.in_front, max(rank, 0))
