"""What a run tells on its way, as plain values."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from convscope.errors import ConvscopeError

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

__all__ = [
    "Artifact",
    "ArtifactKind",
    "CachePolicy",
    "EventKind",
    "Frame",
    "Prediction",
    "Priority",
    "Progress",
    "Report",
    "RunEvent",
    "RunState",
    "Update",
    "decode_array",
    "decode_image",
    "decode_table",
    "is_readable",
    "queued_words",
    "started_words",
    "update_words",
]

CachePolicy = Literal["default", "bypass", "only"]
Priority = Literal["interactive", "normal", "batch"]
RunState = Literal["queued", "running", "succeeded", "failed", "cancelled", "paused"]
ArtifactKind = Literal["image", "tensor", "table", "text"]
EventKind = Literal[
    "accepted",
    "queued",
    "started",
    "progress",
    "preview",
    "result",
    "note",
    "gap",
    "checkpointed",
    "updated",
    "paused",
    "succeeded",
    "failed",
    "cancelled",
]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the run is: `step` of `total` (0: unknown), named numbers of the step, seconds to the end."""

    step: int
    total: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    eta: float | None = None


@dataclass(frozen=True, slots=True)
class Artifact:
    """One thing that a run made: a preview on the way, or a result.

    Attributes:
        name: What it shows; empty for previews.
        kind: "image", "tensor", "table" or "text".
        media_type: IANA media type of the content.
        digest: "sha256:…" of the content.
        size_bytes: Length of the content.
        content: The bytes, or None where they are large and wait on the server under `digest`.
        caption: One line for a person, or "".
        width, height: In pixels; 0 where it is no picture.
        value_range: The values that the picture's colours span, where it was drawn from data.
        step: Step at which it was made, from 1, or 0.
    """

    name: str
    kind: ArtifactKind
    media_type: str
    digest: str
    size_bytes: int
    content: bytes | None = field(default=None, repr=False)
    caption: str = ""
    width: int = 0
    height: int = 0
    value_range: tuple[float, float] | None = None
    step: int = 0


@dataclass(frozen=True, slots=True)
class Prediction:
    """One class and how probable the network finds it (softmax, 0 to 1)."""

    index: int
    label: str
    probability: float


@dataclass(frozen=True, slots=True)
class Report:
    """Did it work, and what exactly was done.

    Attributes:
        scores: Named numbers about the result.
        notes: What the reader should know, in order.
        provenance: Everything needed to repeat the run: model and weights digest, technique, versions,
            parameters after defaults, seed, device, digests.
        predictions: Top classes of the picture that the run explains or makes, most probable first.
    """

    scores: Mapping[str, float] = field(default_factory=dict)
    notes: Sequence[str] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    predictions: Sequence[Prediction] = ()


class Update(NamedTuple):
    """Other values for some parameters: behind `step`, counted as `Progress` counts, `params` have these values."""

    step: int
    params: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RunEvent:
    """One entry of a run's log. `kind` says which of the other fields are set.

    Attributes:
        run_id: The run.
        sequence: Place in the log, from 1; of a gap, the last place that it stands for.
        kind: What happened.
        time: When the server stored it, in UTC.
        progress: Of "progress".
        artifact: Of "preview" and "result", as it came: encoded.
        note: Of "note".
        gap: Of "gap": first and last place left out because this watcher was slow.
        position: Of "queued": runs in front, from 0.
        eta: Of "queued": seconds until it starts, where the server can tell.
        for_memory: Of "queued": whether it waits for memory beside the runs that are on devices.
        device, attempt: Of "started".
        step: Of "started": the checkpoint that the run goes on from, 0 at its beginning; progress falls back to it.
            Of "checkpointed": from here the run goes on whatever happens to its worker. Of "updated": behind it
            `params` hold.
        params: Of "updated": the new values of the parameters that have changed.
        report: Of "succeeded".
        error: Of "failed" and "cancelled": what `Run.result` raises.
    """

    run_id: str
    sequence: int
    kind: EventKind
    time: datetime
    progress: Progress | None = None
    artifact: Artifact | None = None
    note: str | None = None
    gap: tuple[int, int] | None = None
    position: int | None = None
    eta: float | None = None
    for_memory: bool = False
    device: str | None = None
    attempt: int = 1
    step: int = 0
    params: Mapping[str, Any] = field(default_factory=dict)
    report: Report | None = None
    error: ConvscopeError | None = None

    @property
    def preview(self) -> Image.Image | None:
        """The frame of a "preview", decoded now; nobody pays for frames that nobody looks at."""
        if self.kind != "preview" or self.artifact is None or self.artifact.content is None:
            return None
        return decode_image(self.artifact.content)

    @property
    def result(self) -> Artifact | None:
        """The artifact of a "result"."""
        return self.artifact if self.kind == "result" else None

    @property
    def ends_run(self) -> bool:
        """Whether it is the last event of its run."""
        return self.kind in {"succeeded", "failed", "cancelled"}


def is_readable(artifact: Artifact) -> bool:
    """Whether its format is read here: the host's own, and what else Pillow opens."""
    if artifact.kind == "image":
        from PIL import Image

        Image.init()
        opened = {name for name, media_type in Image.MIME.items() if media_type == artifact.media_type}
        return not opened.isdisjoint(Image.OPEN)
    if artifact.kind == "text":
        return artifact.media_type.startswith("text/")
    return artifact.media_type == ("application/x-npy" if artifact.kind == "tensor" else "application/json")


def decode_image(content: bytes) -> Image.Image:
    """The picture in an encoded file."""
    from PIL import Image

    with Image.open(io.BytesIO(content)) as picture:
        picture.load()
        return picture.copy() if getattr(picture, "is_animated", False) else picture


def decode_array(content: bytes) -> np.ndarray[Any, Any]:
    """The array in a .npy file; a pickled one is refused."""
    import numpy as np

    array: np.ndarray[Any, Any] = np.load(io.BytesIO(content), allow_pickle=False)
    return array


def decode_table(content: bytes) -> list[dict[str, Any]]:
    """The rows in a JSON array."""
    rows: list[dict[str, Any]] = json.loads(content)
    return rows


@dataclass(frozen=True, slots=True)
class Frame:
    """A preview that was kept: the step at which it was made (0: unknown), and its place in the log."""

    step: int
    sequence: int
    artifact: Artifact

    @property
    def image(self) -> Image.Image:
        """The picture, decoded now."""
        return decode_image(self.artifact.content or b"")


def queued_words(event: RunEvent) -> str:
    """A "queued" event for a person: "queued, 3 in front, about 40 s"."""
    if event.for_memory:
        return "queued, until there is memory for it beside other runs"
    if not event.position:
        return "queued"
    about = "" if event.eta is None else f", about {event.eta:.0f} s"
    return f"queued, {event.position} in front{about}"


def started_words(event: RunEvent) -> str:
    """A "started" event for a person: "on cuda:0, attempt 2, from step 57"."""
    attempt = "" if event.attempt == 1 else f", attempt {event.attempt}"
    return f"on {event.device}{attempt}" + (f", from step {event.step}" if event.step else "")


def update_words(step: int, params: Mapping[str, Any]) -> str:
    """A change on the way for a person: "step_size=0.5 behind step 57"."""
    changes = ", ".join(f"{name}={_brief(value)}" for name, value in sorted(params.items()))
    return f"{changes} behind step {step}"


def _brief(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
