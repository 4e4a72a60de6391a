"""What a watcher has learned of a run so far: its state, its results, its last previews."""

from __future__ import annotations

from dataclasses import dataclass, field

from convscope.errors import ConvscopeError
from convscope.events import Artifact, Frame, Report, RunEvent, RunState

__all__ = ["Frames", "Record"]


@dataclass(slots=True)
class Frames:
    """At most `limit` previews of a run, evenly spread: when there are too many, every second one goes."""

    limit: int = 240
    kept: list[Frame] = field(default_factory=list)
    _every: int = 1
    _seen: int = 0

    def add(self, frame: Frame) -> None:
        """Keep the frame, unless its turn has not come."""
        if self._seen % self._every == 0:
            self.kept.append(frame)
        self._seen += 1
        if len(self.kept) > self.limit:
            self.kept = self.kept[::2]
            self._every *= 2

    def rewind(self, step: int) -> None:
        """Forget the frames behind the step: they are made again."""
        self.kept = [frame for frame in self.kept if frame.step <= step]
        self._seen = len(self.kept) * self._every


@dataclass(slots=True)
class Record:
    """The sum of a run's events."""

    state: RunState = "queued"
    artifacts: dict[tuple[str, str], Artifact] = field(default_factory=dict)
    frames: Frames = field(default_factory=Frames)
    step: int = 0
    report: Report | None = None
    error: ConvscopeError | None = None

    def add(self, event: RunEvent) -> None:
        """Take in the next event."""
        match event.kind:
            case "started":
                self._start(event)
            case "queued" | "paused":
                self.state = event.kind
            case "progress" if event.progress is not None:
                if event.progress.step < self.step:  # A checkpoint was of no use after all.
                    self.frames.rewind(event.progress.step - 1)
                self.step = event.progress.step
            case "preview" if event.artifact is not None:
                step = event.artifact.step or self.step
                self.frames.add(Frame(step, event.sequence, event.artifact))
            case "result" if event.artifact is not None:
                self.artifacts[event.artifact.kind, event.artifact.name] = event.artifact
            case "succeeded" | "failed" | "cancelled":
                self.state, self.report, self.error = event.kind, event.report, event.error

    def _start(self, event: RunEvent) -> None:
        self.state = "running"
        self.step = event.step
        if event.step:  # What was made behind its checkpoint comes again.
            self.frames.rewind(event.step)
        else:  # From the beginning: the pictures of before count no more.
            self.artifacts, self.frames = {}, Frames()
