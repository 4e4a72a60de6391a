"""What a technique yields. The host encodes, names and stores; the author never touches PNG or files.

Pictures are arrays: torch tensors or NumPy arrays, RGB (3, H, W) or grey (1, H, W) or (H, W), floats in [0, 1]
or uint8. A leading batch axis of length one is dropped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from convscope_sdk.models import IMAGENET_MEAN, IMAGENET_STD, Argument, CodeFacts, ModelKind
from convscope_sdk.state import State

__all__ = [
    "Checkpoint",
    "Event",
    "Heatmap",
    "Image",
    "ImageGrid",
    "Note",
    "Predictions",
    "Preview",
    "Progress",
    "Result",
    "Scores",
    "Table",
    "Tensor",
    "Text",
    "TrainedModel",
]


@dataclass(frozen=True, slots=True)
class Progress:
    """Steps done. `step` counts from 1 and never falls; `total` is the same in every event of a run, or 0."""

    step: int
    total: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Preview:
    """A frame on the way: a picture, or a map to be drawn like a `Heatmap` where `heatmap` is set."""

    image: Any
    caption: str = ""
    heatmap: bool = False


@dataclass(frozen=True, slots=True)
class Image:
    """A picture: results `images[name]`."""

    name: str
    image: Any
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Heatmap:
    """A map over the input, drawn and kept raw.

    Becomes `images[name]` in a perceptual colour map with its legend and range, the raw values as
    `tensors[name]`, and, unless switched off, `images["overlay"]` on the input. Colours reach as far as the values;
    where a few outliers would leave the rest dark, to the 99th percentile, and the legend says that there is more.

    Attributes:
        name: What it shows.
        values: (H, W) array in input coordinates, any range.
        signed: Draw zero as the middle of a diverging colour map.
        overlay: Also draw it over the input, keeping the input's brightness.
        caption: One line for a person.
    """

    name: str
    values: Any
    signed: bool = False
    overlay: bool = True
    caption: str = ""


@dataclass(frozen=True, slots=True)
class ImageGrid:
    """Many small pictures as one labelled sheet: `images[name]`.

    Attributes:
        name: What it shows.
        tiles: Sequence of pictures, or one (N, C, h, w) array; they may differ in size.
        labels: One for each tile, or none.
        columns: Tiles in a row; near square where absent.
        scale: Each small tile is drawn this many times larger, without smoothing; chosen to be readable where absent.
        value_range: The values that black and white stand for, where tiles were drawn from data on one scale.
        caption: One line for a person.
    """

    name: str
    tiles: Any
    labels: Sequence[str] = ()
    columns: int | None = None
    scale: int | None = None
    value_range: tuple[float, float] | None = None
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Tensor:
    """An array, kept exactly: `tensors[name]`."""

    name: str
    values: Any
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of plain values: `tables[name]`."""

    name: str
    rows: Sequence[Mapping[str, Any]]
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Text:
    """Words: `texts[name]`. A page to look at is "text/html", self-contained; clients save it as .html."""

    name: str
    text: str
    caption: str = ""
    media_type: Literal["text/plain", "text/html"] = "text/plain"


@dataclass(frozen=True, slots=True)
class Note:
    """Something that the reader of the result should know; also kept in the report."""

    text: str


@dataclass(frozen=True, slots=True)
class Scores:
    """Named numbers for the report; later values of a name replace earlier ones."""

    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Predictions:
    """The network's top classes for the picture explained or made: (index, label, probability) each."""

    items: Sequence[tuple[int, str, float]]


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """A network that the run has trained: from now on a model of the catalog.

    The host keeps it as a folder of the models directory, whole or not at all, and names it in `tables["model"]`.

    Attributes:
        name: Of the model; that of the run's `TrainingParams`. One that another run or person took is refused.
        state_dict: Its tensors by name, kept with their types.
        architecture: "convscope:ID" of an `Architecture`, or "timm:NAME" or "torchvision:NAME".
        arguments: What the architecture is built with.
        kind: What the model does.
        input_size: Edge of the square evaluation input, pixels.
        mean, std: Of the normalisation (x - mean) / std of RGB pixels in [0, 1].
        code_shape: Shape of what a generator takes, without the batch axis.
        codes: What a generator's codes are.
        labels: Of classes, by index.
        description: One line for the catalog.
        facts: What else is worth knowing of its making (steps, losses), kept beside it.
    """

    name: str
    state_dict: Mapping[str, Any]
    architecture: str
    arguments: Mapping[str, Argument] = field(default_factory=dict)
    kind: ModelKind = "classifier"
    input_size: int = 224
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    code_shape: tuple[int, ...] = ()
    codes: CodeFacts | None = None
    labels: Sequence[str] = ()
    description: str = ""
    facts: Mapping[str, str | float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A training at one step, from which a later run can go on: the host keeps the last one of each name.

    `convscope_sdk.training.TrainingState` makes and reads them.

    Attributes:
        name: Of the model that is being trained.
        step: Steps done.
        tensors: Everything that is an array: weights, optimiser, random generators.
        facts: Everything else, as plain JSON values.
    """

    name: str
    step: int
    tensors: Mapping[str, Any]
    facts: Mapping[str, Any] = field(default_factory=dict)


Result = Image | Heatmap | ImageGrid | Tensor | Table | Text
Event = Progress | Preview | Result | Note | Scores | Predictions | TrainedModel | Checkpoint | State

ResultKind = Literal["image", "tensor", "table", "text"]
