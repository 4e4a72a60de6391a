"""What a server offers and holds, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from convscope.errors import ConvscopeError
from convscope.events import Priority, RunState, Update

__all__ = [
    "DeviceInfo",
    "ImageSetInfo",
    "LayerInfo",
    "LoadedModel",
    "ModelInfo",
    "PluginInfo",
    "ReceptiveField",
    "RunInfo",
    "TechniqueInfo",
]


@dataclass(frozen=True, slots=True)
class TechniqueInfo:
    """A technique that can be asked for.

    Attributes:
        id: What to ask for.
        summary: One sentence: what the picture shows.
        params_schema: JSON Schema of the parameters, each with its default and description.
        needs: Capabilities it relies on: "image", "gradients", "spatial_layer", "classes", ….
        cites: The paper it follows, or "".
        package, version: The Python distribution that brought it.
        extra_images: Further pictures it takes, by role, with a description each.
        resumable: Whether its runs keep checkpoints: they can be paused and steered, and go on when a worker is lost.
        steers: Parameters that `Run.update` can change on the way.
        cacheable: Whether an identical run may stand for another one.
        batchable: Whether runs of it may go through the network together.
    """

    id: str
    summary: str
    params_schema: Mapping[str, Any]
    needs: frozenset[str] = frozenset()
    cites: str = ""
    package: str = ""
    version: str = ""
    extra_images: Mapping[str, str] = field(default_factory=dict)
    resumable: bool = False
    steers: frozenset[str] = frozenset()
    cacheable: bool = True
    batchable: bool = False


@dataclass(frozen=True, slots=True)
class ImageSetInfo:
    """An image set.

    Attributes:
        name: What the parameter `image_set` takes.
        source: "builtin", "folder", "torchvision", "uploaded", or that of a plugin.
        description: One line for a person.
        count: Number of pictures; 0 in lists, where it is only known once a set is opened.
        labels: How many pictures have each label, by label column; of `get` only.
        size_bytes: Bytes of its files; of uploaded sets only.
        manifest: Digest of its manifest; of uploaded sets only.
        create_time: When it was made, or changed last; of uploaded sets only.
    """

    name: str
    source: str
    description: str = ""
    count: int = 0
    labels: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    size_bytes: int = 0
    manifest: str = ""
    create_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class ReceptiveField:
    """Input pixels that a position of a layer can see; (height, width) each.

    Attributes:
        size: Rows and columns seen.
        stride: Input pixels from one position to the next.
        offset: First row and column that position 0 sees; negative where padding is seen.
    """

    size: tuple[int, int]
    stride: tuple[int, int]
    offset: tuple[int, int]


@dataclass(frozen=True, slots=True)
class LayerInfo:
    """A layer of a model: a module by its dotted name, or a functional node of the forward pass.

    Attributes:
        output_shape: Of one evaluation input, without the batch: (channels, height, width) or (features,).
        receptive_field: None where the output has no positions or each sees the whole picture.
    """

    name: str
    kind: str
    output_shape: tuple[int, ...]
    parameters: int = 0
    functional: bool = False
    receptive_field: ReceptiveField | None = None


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model in the catalog. What follows `devices` is known once it was loaded: `Client.model` fills it.

    Attributes:
        kind: "classifier", "generator" or "stylizer".
        devices: Those that hold it now.
        weights_digest: "sha256:…" over its parameters and buffers.
        random_weights: True where nothing in it was learned.
        parameters: Number of parameters.
        size_bytes: What it takes on a device.
        input_size: Edge of its square evaluation input, in pixels.
        mean, std: Normalisation of pixels in [0, 1].
        classes: Labels by index; empty where it is no classifier.
        layers: In order of execution.
        aliases: "first_conv", "last_conv", "penultimate", "logits", and the layer each stands for.
    """

    name: str
    kind: str
    source: str
    description: str = ""
    devices: tuple[str, ...] = ()
    weights_digest: str = ""
    random_weights: bool = False
    parameters: int = 0
    size_bytes: int = 0
    input_size: int = 0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    classes: tuple[str, ...] = field(default=(), repr=False)
    layers: tuple[LayerInfo, ...] = field(default=(), repr=False)
    aliases: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PluginInfo:
    """A plugin found when the server started; `reason` says why it failed or was denied, and what to do."""

    name: str
    package: str
    version: str
    loaded: bool
    reason: str = ""
    techniques: tuple[str, ...] = ()
    import_seconds: float = 0.0
    denied: bool = False

    @property
    def state(self) -> str:
        """Any of "loaded", "failed", "denied"."""
        return "loaded" if self.loaded else "denied" if self.denied else "failed"


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model on a device: bytes it takes there, and live runs that use it."""

    name: str
    size_bytes: int
    users: int = 0


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """A device and its worker.

    Attributes:
        name: "cpu", "cuda:0", "mps".
        state: "starting", "ready" or "draining".
        pid: Process id of the worker, or 0.
        runs: Ids of the runs on it now.
        models: On it now.
        model_budget_bytes: What models may take together.
        restarts: How often its worker was replaced.
    """

    name: str
    state: str
    pid: int = 0
    runs: tuple[str, ...] = ()
    models: tuple[LoadedModel, ...] = ()
    model_budget_bytes: int = 0
    restarts: int = 0


@dataclass(frozen=True, slots=True)
class RunInfo:
    """A run as it was when asked for. Times are in UTC; None until they come.

    Attributes:
        params: As given, before defaults.
        last_sequence: Of its newest event.
        error: Why it failed.
        device_seconds: Device time that it has taken.
        updates: Changes of its parameters so far, by rising step: with them and `params` the run is repeated.
    """

    id: str
    state: RunState
    model: str
    technique: str
    params: Mapping[str, Any]
    seed: int
    request_id: str
    labels: Mapping[str, str]
    create_time: datetime | None
    start_time: datetime | None
    end_time: datetime | None
    last_sequence: int
    error: ConvscopeError | None = None
    device_seconds: float = 0.0
    priority: Priority = "normal"
    updates: tuple[Update, ...] = ()
