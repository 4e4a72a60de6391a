"""Who has how much: runs waiting and on devices, and device time, by principal."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["Account", "Ledger"]

_HOUR = 3600.0
_GRAIN = 10.0  # seconds of the clock that share an entry of the window


@dataclass(slots=True)
class Account:
    """What a principal has.

    Attributes:
        coming: Runs that are being accepted.
        waiting: Runs that wait for a device.
        running: Runs on devices.
        paused: Runs that wait to be resumed.
        clock: Weighted device seconds that their runs have taken, brought up to those at work whenever they come.
    """

    coming: int = 0
    waiting: int = 0
    running: int = 0
    paused: int = 0
    clock: float = 0.0
    _window: deque[tuple[float, float]] = field(default_factory=deque)

    @property
    def idle(self) -> bool:
        """Whether nothing of theirs is alive."""
        return not self.waiting and not self.running

    def take(self, now: float, seconds: float) -> None:
        """So much device time is theirs, taken until now."""
        if self._window and now - self._window[-1][0] < _GRAIN:
            began, sum_ = self._window.pop()
            self._window.append((began, sum_ + seconds))
        else:
            self._window.append((now, seconds))

    def last_hour(self, now: float) -> float:
        """Device seconds of the last hour."""
        while self._window and self._window[0][0] < now - _HOUR:
            self._window.popleft()
        return sum(seconds for _, seconds in self._window)

    def until_below(self, now: float, bound: float) -> float:
        """Seconds until the last hour's device time will be below `bound`, if nothing more is taken."""
        left = self.last_hour(now)
        for began, seconds in self._window:
            if left < bound:
                return 0.0
            left -= seconds
            if left < bound:
                return max(0.0, began + _HOUR - now)
        return 0.0


class Ledger:
    """The accounts of all principals.

    Args:
        now: The clock, in Unix seconds.
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._accounts: defaultdict[str, Account] = defaultdict(Account)

    def __getitem__(self, owner: str) -> Account:
        return self._accounts[owner]

    @property
    def waiting(self) -> int:
        """Runs that wait, are paused or are being accepted, of all."""
        return sum(account.coming + account.waiting + account.paused for account in self._accounts.values())

    def in_front(self, owner: str) -> int:
        """Runs that start before a further one of theirs, where principals take turns."""
        before = self._accounts[owner].coming + self._accounts[owner].waiting
        others = (account for name, account in self._accounts.items() if name != owner)
        return before + sum(min(account.coming + account.waiting, before + 1) for account in others)

    def came(self, owner: str) -> None:
        """A run of theirs waits from now on. Who had nothing alive has no credit for that beside those who had."""
        account = self._accounts[owner]
        if account.idle:
            at_work = [other.clock for other in self._accounts.values() if not other.idle]
            account.clock = max(account.clock, min(at_work, default=0.0))
        account.waiting += 1

    def took(self, owner: str, seconds: float, weight: float) -> None:
        """A run of theirs has had a device for so long since it was last told of."""
        account = self._accounts[owner]
        account.clock += seconds / weight
        account.take(self._now(), seconds)

    def last_hour(self, owner: str) -> float:
        """Device seconds that their runs took in the last hour."""
        return self._accounts[owner].last_hour(self._now())

    def until_below(self, owner: str, bound: float) -> float:
        """Seconds until their device time of the last hour will be below `bound`."""
        return self._accounts[owner].until_below(self._now(), bound)
