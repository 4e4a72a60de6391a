"""Parameters of a technique: one pydantic model, from which schema, flags, forms and docs are made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import PydanticCustomError

from convscope_sdk.errors import FieldViolation, InvalidParams, shown
from convscope_sdk.target import Target

__all__ = ["Fit", "ImageParams", "Params"]

Fit = Literal["crop", "resize", "pad", "keep"]


class Params(BaseModel):
    """Base of every technique's parameters: frozen, unknown fields refused, presets by name.

    Every field has a default and a description. A subclass may name sets of values in `presets` and have
    a `preset` field; what the caller gives explicitly wins over the preset.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=False)

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or "preset" not in cls.model_fields:
            return values
        name = values.get("preset", cls.model_fields["preset"].default)
        if name is None:
            return values
        if not isinstance(name, str) or name not in cls.presets:
            known = ", ".join(sorted(cls.presets))
            raise PydanticCustomError(
                "unknown_preset", "no preset {name}; there are {known}", {"name": shown(name), "known": known}
            )
        return {**cls.presets[name], **values}

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """The parameters after defaults and presets.

        Raises:
            InvalidParams: with one violation for each field at fault, its path under "params".
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise _refusal(cls, error) from None

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """JSON Schema (2020-12) of the parameters, stable between calls."""
        schema = cls.model_json_schema(schema_generator=_SchemaWithTargets)
        schema.setdefault("additionalProperties", False)
        return schema


class ImageParams(Params):
    """How the picture is brought to the network: shared by every technique that looks at one."""

    fit: Fit = Field(
        "crop",
        description=(
            "How the picture becomes the input: `crop` as the network's own evaluation does (shorter edge resized, "
            "centre cut out), `resize` to a square without keeping proportions, `pad` to a square with grey, "
            "`keep` its proportions with the longer edge at `size`."
        ),
    )
    size: int | None = Field(
        None,
        ge=16,
        le=4096,
        description="Edge of the input in pixels; the network's own evaluation size where absent.",
    )


class _SchemaWithTargets(GenerateJsonSchema):
    """Writes a default target as it is spelled; pydantic writes any dataclass as an object."""

    def encode_default(self, dft: Any) -> Any:
        return str(dft) if isinstance(dft, Target) else super().encode_default(dft)


def _refusal(cls: type[Params], error: ValidationError) -> InvalidParams:
    violations = []
    for problem in error.errors(include_url=False):
        # Beyond the field's name pydantic also names the members of a union; only positions are the caller's.
        head, *rest = problem["loc"] or (("preset",) if problem["type"] == "unknown_preset" else ("",))
        parts = ["params", str(head), *(str(part) for part in rest if isinstance(part, int))]
        path = ".".join(part for part in parts if part)
        given = problem.get("input")
        text = problem["msg"]
        if problem["type"] == "extra_forbidden":
            text = f"no such parameter; there are {', '.join(sorted(cls.model_fields))}"
        elif not isinstance(given, Mapping):
            text = f"{text}, not {shown(given)}"
        violations.append(FieldViolation(path, text[:300]))
    summary = "; ".join(f"{v.field}: {v.description}" for v in violations)
    return InvalidParams(summary[:1000], violations=violations)
