"""`model.toml`: what the owner of a model says about it, read with distrust."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from convscope_sdk.errors import FieldViolation
from convscope_sdk.models import Argument, Interpolation, ModelKind
from convscope_server.models.errors import ModelBroken
from convscope_server.models.sources.state_dict import FORMATS

__all__ = ["FILE_NAME", "Manifest", "inside"]

FILE_NAME = "model.toml"

_LARGEST = 64 * 1024

_Number = Annotated[float, Field(allow_inf_nan=False)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Fact = str | bool | int | float
_Word = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$", max_length=100)]


class Codes(BaseModel):
    """The table `codes` of a generator's model.toml; see `convscope_sdk.models.CodeFacts`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    of_model: str = Field("", max_length=200, description="Model whose layer gives the codes.")
    layer: str = Field("", max_length=200, description="The layer.")
    sigma: str = Field("", max_length=200, description="Tensor in the weights with each unit's standard deviation.")
    rectified: bool = Field(True, description="Whether no unit of a code is negative.")


class Manifest(BaseModel):
    """The keys of a model.toml. What it leaves out is as the architecture's own pretraining had it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    architecture: str = Field(
        pattern=r"^(timm:[\w.-]+|torchvision:\w+|convscope:[\w.]+|[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*)$",
        description="timm:NAME, torchvision:NAME, convscope:NAME, or module:callable, called without arguments.",
    )
    arguments: dict[_Word, Argument] = Field(
        default_factory=dict, max_length=32, description="What a convscope: architecture is built with."
    )
    weights: str | None = Field(None, description="State dict beside the model.toml: .safetensors or .pth.")
    labels: str | None = Field(None, description="Text file beside the model.toml, one label a line, by index.")
    input_size: int | None = Field(None, ge=16, le=4096, description="Edge of the evaluation input, pixels.")
    mean: tuple[_Number, _Number, _Number] | None = Field(None, description="Of RGB pixels in [0, 1].")
    std: tuple[_Positive, _Positive, _Positive] | None = Field(None, description="Of RGB pixels in [0, 1].")
    interpolation: Interpolation | None = Field(None, description="Of the evaluation resize.")
    crop_fraction: float | None = Field(
        None, gt=0, le=1, description="Part of the resized shorter edge that the centre crop keeps."
    )
    kind: ModelKind = Field("classifier", description="What the model does.")
    code_shape: tuple[int, ...] = Field((), max_length=3, description="Shape of what a generator takes.")
    codes: Codes | None = Field(None, description="What the codes of a generator are.")
    description: str = Field("", max_length=300, description="One line for the catalog.")
    facts: dict[_Word, _Fact] = Field(
        default_factory=dict, max_length=64, description="What else is known of its making; kept, not used."
    )

    @property
    def library(self) -> Literal["timm", "torchvision", "convscope"] | None:
        """Whose architecture it is; None for a callable."""
        match self.architecture.partition(":")[0]:
            case "timm":
                return "timm"
            case "torchvision":
                return "torchvision"
            case "convscope":
                return "convscope"
        return None

    @model_validator(mode="after")
    def _weights_given(self) -> Self:
        if self.weights is None and self.library:
            raise ValueError(f"weights: name the file with the state dict of {self.architecture}")
        if self.arguments and self.library != "convscope":
            raise ValueError(f"arguments: {self.architecture} takes none; a convscope: architecture does")
        if self.weights is not None and Path(self.weights).suffix not in FORMATS:
            raise ValueError(
                f"weights: {self.weights!r} is neither .safetensors nor .pth; other formats may run code when they "
                f"are read. Save the state dict with safetensors.torch.save_file(model.state_dict(), ...)"
            )
        return self

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """The manifest of a model's folder; the files that it names are there and inside the folder.

        Raises:
            ModelBroken: unreadable, a key unknown or out of range, or a file that is missing or elsewhere.
        """
        file = inside(folder, FILE_NAME)
        try:
            if file.stat().st_size > _LARGEST:
                raise ModelBroken(f"{FILE_NAME} is larger than {_LARGEST} bytes")
            manifest = cls.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ModelBroken(f"{FILE_NAME} cannot be read: {error}") from error
        except ValidationError as error:
            raise _refusal(error) from None
        for name in filter(None, (manifest.weights, manifest.labels)):
            inside(folder, name)
        return manifest


def inside(folder: Path, name: str) -> Path:
    """The file called `name` in `folder`, symbolic links followed.

    Raises:
        ModelBroken: it is not there, or the name or a link leads out of the folder.
    """
    try:
        root = folder.resolve(strict=True)
        file = (root / name).resolve(strict=True)
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: links in a circle, before Python 3.13
        raise ModelBroken(f"there is no file {name!r} beside {FILE_NAME}") from error
    if Path(name).is_absolute() or not file.is_relative_to(root):
        raise ModelBroken(
            f"{name!r} leads out of the model's folder; copy the file beside {FILE_NAME}", reason="PATH_REFUSED"
        )
    if not file.is_file():
        raise ModelBroken(f"{name!r} beside {FILE_NAME} is no file")
    return file


def _refusal(error: ValidationError) -> ModelBroken:
    violations = []
    for problem in error.errors(include_url=False):
        path = ".".join([FILE_NAME, *(str(part) for part in problem["loc"])])
        text = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            text = f"no such key; there are {', '.join(Manifest.model_fields)}"
        elif problem["loc"]:
            text = f"{text}, not {problem['input']!r}"
        violations.append(FieldViolation(path, text[:300]))
    summary = "; ".join(f"{v.field}: {v.description}" for v in violations)
    return ModelBroken(summary[:1000], violations=violations)
