"""What a slow watcher is not sent."""

from __future__ import annotations

from dataclasses import dataclass

from convscope_server.runs.events import Preview, is_skippable
from convscope_server.runs.run import LoggedEvent

__all__ = ["Skips"]


@dataclass(frozen=True, slots=True)
class Skips:
    """The rule by which entries are left out for one watcher.

    Attributes:
        previews: Leave out every preview.
        through: Up to this sequence leave out previews and progress…
        keep: …except these: the newest of each kind at the time.
    """

    previews: bool = False
    through: int = 0
    keep: tuple[int, ...] = ()

    def leave_out(self, logged: LoggedEvent) -> bool:
        """Whether the watcher is told of the entry by a gap alone."""
        if self.previews and isinstance(logged.event, Preview):
            return True
        if logged.sequence > self.through or logged.sequence in self.keep:
            return False
        return is_skippable(logged.event)
