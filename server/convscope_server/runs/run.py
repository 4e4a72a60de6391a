"""What a run is: the request, the record, and the entries of its log as a watcher gets them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec

from convscope_server.engine.between_steps import Update, overruled
from convscope_server.engine.messages import PreviewOptions
from convscope_server.priority import Priority
from convscope_server.runs.events import Error, Event, Failed, Paused, Queued, Started, Succeeded, Updated, is_terminal

__all__ = [
    "CachePolicy",
    "Gap",
    "LoggedEvent",
    "RunFilter",
    "RunRecord",
    "RunRequest",
    "RunState",
    "fingerprint",
    "state_after",
    "steered",
]

CachePolicy = Literal["default", "bypass", "only"]
RunState = Literal["queued", "running", "paused", "succeeded", "failed", "cancelled"]


class RunRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was asked for, images by digest.

    Attributes:
        extra_images: Digests ("sha256:…") by role.
        image_sets: Digests of the manifests of the uploaded image sets that it looks at, by name.
        request_id: Makes the submission repeatable; chosen by the service where it is empty.
        deadline_seconds: Longest time from submission to the end, or None.
        on_disconnect: Whether the run is cancelled once nobody has watched it for the grace period.
        max_restarts: How often it may start again from the beginning when its worker is lost.
        media_types: What results are written as, where that is not what the host writes by itself.
        priority: How urgent it is beside others.
        cache: Whether an identical run may stand for it ("default"), must not ("bypass"), or must ("only").
        updates: Changes of parameters on the way, to repeat a run that was steered, by rising step.
        owner: Name of the principal whose run it is; "" where the server asks nobody who they are.
    """

    technique: str
    model: str
    params: dict[str, Any] = {}
    image: str | None = None
    extra_images: dict[str, str] = {}
    seed: int = 0
    request_id: str = ""
    previews: PreviewOptions = PreviewOptions()
    deadline_seconds: float | None = None
    on_disconnect: Literal["cancel", "detach"] = "detach"
    labels: dict[str, str] = {}
    max_restarts: int = 0
    owner: str = ""
    image_sets: dict[str, str] = {}
    media_types: tuple[str, ...] = ()
    priority: Priority = "normal"
    cache: CachePolicy = "default"
    updates: tuple[Update, ...] = ()

    @property
    def inputs(self) -> dict[str, str]:
        """Digests by role, "image" being the primary picture."""
        primary = {"image": self.image} if self.image else {}
        return {**self.extra_images, **primary}


class RunRecord(msgspec.Struct, frozen=True):
    """A run as the store has it now. `id` is 32 hexadecimal digits; times are Unix seconds.

    `identity` is what it has in common with runs that are sure to make the same; see `runs.identity`.
    """

    id: str
    state: RunState
    request: RunRequest
    create_time: float
    start_time: float | None = None
    end_time: float | None = None
    last_sequence: int = 0
    error: Error | None = None
    device_seconds: float = 0.0
    identity: str = ""


class LoggedEvent(msgspec.Struct, frozen=True):
    """A stored entry of a run's log; sequences are 1, 2, 3, … without holes, `time` is Unix seconds."""

    run: str
    sequence: int
    time: float
    event: Event


class Gap(msgspec.Struct, frozen=True):
    """Stands for the entries `first` to `last`, both inclusive, that a watcher was not sent."""

    run: str
    first: int
    last: int


class RunFilter(msgspec.Struct, frozen=True):
    """Which runs to list: those that agree with every field that is set, and have all of the labels.

    `owner` is set where it is not None; "" are the runs of nobody in particular.
    """

    state: RunState | None = None
    technique: str = ""
    model: str = ""
    labels: dict[str, str] = {}
    owner: str | None = None


_STATES: Mapping[type[Event], RunState] = {Queued: "queued", Started: "running", Paused: "paused"}


def fingerprint(request: RunRequest) -> str:
    """The hexadecimal digest that two requests share where they differ in nothing but `request_id`."""
    anonymous = msgspec.structs.replace(request, request_id="")
    # By way of a dict: a struct's header tells how many fields it could have, which the next version changes.
    plain = msgspec.to_builtins(anonymous, order="deterministic")
    return hashlib.sha256(msgspec.msgpack.encode(plain)).hexdigest()


def steered(request: RunRequest, events: Iterable[Event]) -> RunRequest:
    """The request of a run that was changed on the way: its updates by rising step, without those of no effect."""
    updates = list(request.updates)
    for event in events:
        if isinstance(event, Updated):
            there = {name: value for one in updates if one.step == event.step for name, value in one.params.items()}
            if there != {**there, **event.params}:  # as they are once more where a run that was lost is changed again
                new = Update(event.params, event.step, made=True)
                updates = [*overruled(updates, new), new]
    if tuple(updates) == request.updates:
        return request
    return msgspec.structs.replace(request, updates=tuple(sorted(updates, key=lambda update: update.step)))


def state_after(event: Event) -> RunState | None:
    """The state that an entry brings its run to, or None where it changes nothing."""
    for kind, state in _STATES.items():
        if isinstance(event, kind):
            return state
    if not is_terminal(event):
        return None
    if isinstance(event, Succeeded):
        return "succeeded"
    return "failed" if isinstance(event, Failed) else "cancelled"
