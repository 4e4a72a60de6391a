from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from convscope_sdk import ImageParams, InvalidParams


class DreamParams(ImageParams):
    """Of a dream."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {"steps": 10, "rate": 0.5},
        "quick": {"steps": 2},
    }

    preset: str | None = Field(None, description="Named values.")
    steps: int = Field(5, ge=1, le=100, description="Steps.")
    rate: float = Field(1.0, gt=0, description="Step size.")
    window: int | Literal["all"] = Field("all", description="Window.")


class PaperParams(DreamParams):
    """As the paper has it unless told otherwise."""

    preset: str | None = Field("paper", description="Named values.")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def violations(values: Mapping[str, Any]) -> dict[str, str]:
    with pytest.raises(InvalidParams) as refusal:
        DreamParams.parse(values)
    assert refusal.value.code == "INVALID_ARGUMENT"
    return {v.field: v.description for v in refusal.value.violations}


def test_defaults_alone_are_valid() -> None:
    params = DreamParams.parse({})
    assert (params.steps, params.rate, params.window, params.fit, params.size) == (5, 1.0, "all", "crop", None)


def test_a_preset_fills_what_the_caller_leaves_out() -> None:
    params = DreamParams.parse({"preset": "paper", "rate": 2})
    assert (params.steps, params.rate) == (10, 2.0)


def test_the_default_preset_applies_unasked_and_can_be_switched_off() -> None:
    assert PaperParams.parse({}).steps == 10
    assert PaperParams.parse({"preset": None}).steps == 5


def test_a_number_too_long_to_print_is_refused_all_the_same() -> None:
    assert "thousands of digits" in violations({"steps": 10**5000})["params.steps"]


@pytest.mark.parametrize("preset", ["papr", 3, ["paper"], {"a": 1}])
def test_an_unknown_preset_is_refused_with_those_there_are(preset: Any) -> None:
    assert "there are paper, quick" in violations({"preset": preset})["params.preset"]


def test_an_unknown_parameter_is_refused_with_those_there_are() -> None:
    assert "fit, preset, rate, size, steps, window" in violations({"step": 3})["params.step"]


def test_each_field_at_fault_is_reported_under_its_own_path() -> None:
    found = violations({"steps": 0, "rate": "fast", "size": 3})
    assert set(found) == {"params.steps", "params.rate", "params.size"}
    assert "not 0" in found["params.steps"]


def test_members_of_a_union_are_no_part_of_the_path() -> None:
    assert set(violations({"window": "some"})) == {"params.window"}


def test_parameters_cannot_be_changed_afterwards() -> None:
    params = DreamParams.parse({})
    with pytest.raises(ValidationError, match="frozen"):
        params.steps = 6


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from([*DreamParams.model_fields, "other"]), JSON, max_size=4))
def test_anything_from_the_wire_is_either_valid_or_refused_in_few_words(values: dict[str, Any]) -> None:
    try:
        params = DreamParams.parse(values)
    except InvalidParams:
        assert all(name.startswith("params.") and len(text) <= 300 for name, text in violations(values).items())
    else:
        assert DreamParams.parse(params.model_dump()) == params


def test_the_schema_is_stable_closed_and_accepts_what_the_model_accepts() -> None:
    schema = DreamParams.json_schema()
    assert json.dumps(schema) == json.dumps(DreamParams.json_schema())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate({"steps": 3, "preset": "paper", "fit": "pad", "size": 64}, schema)
    for refused in ({"step": 3}, {"steps": 0}, {"fit": "stretch"}, {"size": 8}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(refused, schema)


def test_every_shared_parameter_has_a_default_and_a_description() -> None:
    for name, field in ImageParams.model_fields.items():
        assert not field.is_required(), name
        assert field.description, name
