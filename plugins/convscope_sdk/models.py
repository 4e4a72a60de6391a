"""Where networks come from: what a model source tells a host. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "Architecture",
    "Argument",
    "CodeFacts",
    "Interpolation",
    "ModelEntry",
    "ModelKind",
    "ModelSource",
    "ModelSpec",
]

ModelKind = Literal["classifier", "generator", "stylizer"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
Argument = bool | int | float | str | tuple[int, ...]
"""What an architecture may be built with: plain values, as a model.toml writes them."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model that a source lists: nothing is loaded to say so.

    Attributes:
        name: What callers ask for.
        description: One line for lists.
        kind: What it can be used for.
        version: Another one once anything of the model is another, such as a file's time of change. A server
            answers no request with an earlier run's events where the version is empty.
    """

    name: str
    description: str = ""
    kind: ModelKind = "classifier"
    version: str = ""


@dataclass(frozen=True, slots=True)
class CodeFacts:
    """What a generator's codes are: outputs of a layer, as a rule, and how far their units spread.

    Attributes:
        of_model: Name of the model whose layer gives them; empty where none does.
        layer: The layer.
        sigma: Name of the tensor in the module's state that has each unit's standard deviation, of any shape that
            broadcasts to a code; empty where all are 1.
        rectified: Whether no unit of a code is negative.
    """

    of_model: str = ""
    layer: str = ""
    sigma: str = ""
    rectified: bool = True


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """How to build one model, and how pictures are brought to it.

    Attributes:
        name: As asked for; the same name gives the same weights.
        source: Name of the source that made it.
        build: Gives the module with its weights, on the CPU. Called once for each load; may take seconds.
        kind: What the model does.
        description: One line for a person.
        input_size: Edge of the square evaluation input, pixels.
        mean, std: Of the normalisation (x - mean) / std of RGB pixels in [0, 1].
        interpolation: Of the evaluation resize.
        crop_fraction: Part of the resized shorter edge that the centre crop keeps, in (0, 1].
        classes: Labels by index; empty where it is no classifier or they are unknown.
        random_weights: True where nothing was learned; every result says so.
        code_shape: Shape of what a generator takes, without the batch axis; empty for models that take pictures.
        codes: What a generator's codes are, where that is known.
        version: Changes when what `build` reads changes, so that a loaded model is loaded anew; empty where it never
            changes.
    """

    name: str
    source: str
    build: Callable[[], nn.Module]
    kind: ModelKind = "classifier"
    description: str = ""
    input_size: int = 224
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    interpolation: Interpolation = "bicubic"
    crop_fraction: float = 0.875
    classes: tuple[str, ...] = ()
    random_weights: bool = False
    code_shape: tuple[int, ...] = ()
    codes: CodeFacts | None = None
    version: str = ""


def _as_it_is(state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    return state


@dataclass(frozen=True, slots=True)
class Architecture:
    """A kind of network that a model.toml can name, "convscope:ID", without any code of its own.

    Plugins offer them through the hook `convscope_architectures`; third parties prefix theirs: "vendor.name".

    Attributes:
        id: Lower-case words joined by underscores, as a technique's id.
        build: Gives the untrained module from keyword arguments, plain values; raises TypeError or ValueError where
            they make no such network. It is called with what strangers write into a model.toml.
        summary: One line for a person.
        adapt: Renames or drops what other programs saved under other names in a state dict.
    """

    id: str
    build: Callable[..., nn.Module]
    summary: str = ""
    adapt: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]] = _as_it_is


@runtime_checkable
class ModelSource(Protocol):
    """A place that models come from; plugins offer them through the hook `convscope_model_sources`."""

    name: str

    def entries(self) -> Iterable[ModelEntry]:
        """The models that the catalog lists now, cheaply; called from any thread, again at every listing."""

    def spec(self, name: str) -> ModelSpec | None:
        """How to build `name`, or None where the name is not one of this source.

        Raises:
            TechniqueError: the name is this source's but cannot be had; the message says what to do.
        """
