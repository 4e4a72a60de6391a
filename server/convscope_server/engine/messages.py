"""What the front end and a worker say to each other. Plain data: no torch, no protobuf, no pickle."""

from __future__ import annotations

from typing import Any

import msgspec

from convscope_server.engine.between_steps import CheckParams, Steer, Suspend, Suspended, Update
from convscope_server.priority import Priority
from convscope_server.runs.events import ArtifactKind, CancelReason, Error, Event

__all__ = [
    "Attained",
    "Cancel",
    "Command",
    "DescribeImageSet",
    "DescribeModel",
    "DeviceStatus",
    "EncoderInfo",
    "Events",
    "Hello",
    "ImageSetDetail",
    "ImageSetInfo",
    "LayerInfo",
    "ListModels",
    "LoadModel",
    "LoadedModel",
    "ModelDetail",
    "ModelInfo",
    "Models",
    "OfRun",
    "Offers",
    "OutOfMemory",
    "Overgrown",
    "Ping",
    "PluginInfo",
    "Pong",
    "PreviewOptions",
    "Reply",
    "Report",
    "RunSpec",
    "Shutdown",
    "Stalled",
    "Start",
    "TechniqueInfo",
    "ToModels",
    "ToRun",
    "Unfit",
    "UnloadModel",
]


class PreviewOptions(msgspec.Struct, frozen=True):
    """How previews are made: at most one each `min_interval` seconds, longest edge `max_edge` pixels."""

    min_interval: float = 0.1
    max_edge: int = 512
    format: str = "jpeg"
    none: bool = False


class RunSpec(msgspec.Struct, frozen=True):
    """Everything a worker needs to make a run's picture.

    Attributes:
        image, extra_images: Encoded files, as the client sent them.
        input_digests: Their digests by role ("image" for the primary one), for the report.
        image_sets: The manifests of uploaded image sets that it may look at, by name.
        media_types: What results are written as, where that is not what the host writes by itself.
        deadline: Unix time after which the run fails, or None.
        attempt: From 1.
        owner: The principal who shares the device with others.
        priority: How urgent it is.
        thrift: How many times smaller its inner batches are to be.
        updates: Changes of its parameters, by rising step.
        checkpoint: The key of the one that it goes on from; "": it begins.
    """

    id: str
    technique: str
    model: str
    params: dict[str, Any]
    seed: int = 0
    image: bytes | None = None
    extra_images: dict[str, bytes] = {}
    input_digests: dict[str, str] = {}
    image_sets: dict[str, str] = {}
    media_types: tuple[str, ...] = ()
    previews: PreviewOptions = PreviewOptions()
    deadline: float | None = None
    attempt: int = 1
    owner: str = ""
    priority: Priority = "normal"
    thrift: int = 1
    updates: tuple[Update, ...] = ()
    checkpoint: str = ""


class TechniqueInfo(msgspec.Struct, frozen=True):
    """A technique in the catalog; `params_schema` is JSON text.

    `revision` is another one once any line of its code is another; empty where that cannot be told.
    """

    id: str
    summary: str
    params_schema: str
    needs: tuple[str, ...] = ()
    cites: str = ""
    package: str = ""
    version: str = ""
    extra_images: dict[str, str] = {}
    stall_seconds: float = 120.0
    cacheable: bool = True
    revision: str = ""
    resumable: bool = False
    steers: tuple[str, ...] = ()
    batchable: bool = False


class PluginInfo(msgspec.Struct, frozen=True):
    """A plugin found at start-up; `reason` is empty where it loaded."""

    name: str
    package: str
    version: str
    reason: str = ""
    techniques: tuple[str, ...] = ()
    import_seconds: float = 0.0
    denied: bool = False
    observes: bool = False


class EncoderInfo(msgspec.Struct, frozen=True):
    """A format that a plugin writes results of one kind in."""

    media_type: str
    kind: ArtifactKind
    package: str
    version: str


class ModelInfo(msgspec.Struct, frozen=True):
    """A model in the catalog; `version` is empty where its source does not say when it becomes another."""

    name: str
    kind: str
    source: str
    description: str = ""
    version: str = ""


class ImageSetInfo(msgspec.Struct, frozen=True):
    """An image set in the catalog."""

    name: str
    source: str
    description: str = ""


class ImageSetDetail(msgspec.Struct, frozen=True):
    """What is known of an image set once it has been opened: how many pictures, and how many have each label."""

    info: ImageSetInfo
    count: int
    labels: dict[str, dict[str, int]] = {}


class LayerInfo(msgspec.Struct, frozen=True):
    """A layer of a loaded model; receptive field triples are (size, stride, offset), each (y, x), or None."""

    name: str
    kind: str
    output_shape: tuple[int, ...]
    parameters: int = 0
    functional: bool = False
    receptive_field: tuple[tuple[int, int], tuple[int, int], tuple[int, int]] | None = None


class ModelDetail(msgspec.Struct, frozen=True):
    """What is known of a model once it has been loaded."""

    info: ModelInfo
    weights_digest: str
    random_weights: bool
    parameters: int
    size_bytes: int
    input_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: tuple[str, ...]
    layers: tuple[LayerInfo, ...]
    aliases: dict[str, str]


class LoadedModel(msgspec.Struct, frozen=True):
    """A model on a device, and how many live runs use it."""

    name: str
    size_bytes: int
    users: int = 0


class DeviceStatus(msgspec.Struct, frozen=True):
    """A device and its worker. `state` is "starting", "ready" or "draining"."""

    name: str
    state: str = "starting"
    pid: int = 0
    runs: tuple[str, ...] = ()
    models: tuple[LoadedModel, ...] = ()
    model_budget_bytes: int = 0
    restarts: int = 0


class _Command(msgspec.Struct, frozen=True, tag=True):
    pass


class Start(_Command, frozen=True):
    """Take on a run."""

    spec: RunSpec


class Cancel(_Command, frozen=True):
    """End a run at its next step."""

    run: str
    reason: CancelReason = "requested"


class LoadModel(_Command, frozen=True):
    """Bring a model onto the device. Replies with LoadedModel."""

    request: int
    model: str


class UnloadModel(_Command, frozen=True):
    """Take a model off the device. Replies True where it was there."""

    request: int
    model: str


class DescribeModel(_Command, frozen=True):
    """Load a model if need be. Replies with ModelDetail."""

    request: int
    model: str


class DescribeImageSet(_Command, frozen=True):
    """Open an image set. Replies with ImageSetDetail."""

    request: int
    image_set: str


class ListModels(_Command, frozen=True):
    """Ask every model source again. Offers, then a reply, come at once, whatever step is being taken."""

    request: int


class Ping(_Command, frozen=True):
    """Are you there? Answered by a thread that no step can block, unless a step holds the GIL."""


class Shutdown(_Command, frozen=True):
    """Close every run without a word and exit."""


ToRun = Cancel | Suspend | Steer
ToModels = LoadModel | UnloadModel | DescribeModel | DescribeImageSet | CheckParams
Command = Start | ToRun | ToModels | ListModels | Ping | Shutdown


class _Report(msgspec.Struct, frozen=True, tag=True):
    pass


class Hello(_Report, frozen=True):
    """The worker is ready: what it offers, and every device of the machine that could have a worker.

    `version` is that of its convscope, `memory_bytes` what models and runs may take of the device together; 0: any.
    """

    device: str
    pid: int
    techniques: tuple[TechniqueInfo, ...]
    plugins: tuple[PluginInfo, ...]
    models: tuple[ModelInfo, ...]
    image_sets: tuple[ImageSetInfo, ...] = ()
    encoders: tuple[EncoderInfo, ...] = ()
    model_budget_bytes: int = 0
    memory_bytes: int = 0
    all_devices: tuple[str, ...] = ()
    version: str = ""


class Events(_Report, frozen=True):
    """Entries for a run's log, in order."""

    run: str
    events: tuple[Event, ...]


class Attained(_Report, frozen=True):
    """What a run has taken in this attempt so far; told every half second, and before its end.

    That is device seconds, and bytes of the device's memory: held between its steps, and at most within one.
    """

    run: str
    seconds: float
    held_bytes: int = 0
    peak_bytes: int = 0


class OutOfMemory(_Report, frozen=True):
    """The device ran out of memory in a step of a run. It is off the worker, and may start again with more thrift."""

    run: str


class Reply(_Report, frozen=True):
    """The answer to a command with a request number: one of the values, or an error."""

    request: int
    loaded: LoadedModel | None = None
    detail: ModelDetail | None = None
    image_set: ImageSetDetail | None = None
    done: bool = False
    error: Error | None = None


class Models(_Report, frozen=True):
    """The models on the device changed."""

    models: tuple[LoadedModel, ...]


class Offers(_Report, frozen=True):
    """The models that can be asked for now: all of them."""

    models: tuple[ModelInfo, ...]


class Stalled(_Report, frozen=True):
    """A step has taken longer than its technique's limit: the worker should be replaced."""

    run: str
    seconds: float


class Overgrown(_Report, frozen=True):
    """A run holds more memory than it may: the worker should be replaced."""

    run: str
    held: int
    limit: int


class Unfit(_Report, frozen=True):
    """The worker can compute nothing any more, for a reason that it has logged: it should be replaced."""


class Pong(_Report, frozen=True):
    """Still there."""


OfRun = Events | Attained | OutOfMemory | Suspended
Report = Hello | OfRun | Reply | Models | Offers | Stalled | Overgrown | Unfit | Pong
