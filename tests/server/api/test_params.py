from __future__ import annotations

from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from convscope_sdk.params import Params
from convscope_sdk.target import LayerRef, Target, TargetField, target_field
from convscope_server.api.params import check_params
from convscope_server.api.violations import Violations


class Ascent(BaseModel):
    strength: float = Field(default=1.0, gt=0)


class DreamParams(Params):
    octaves: int = Field(default=4, ge=1, le=20)
    octave_scale: float = Field(default=1.4, gt=1.0)
    fit: Literal["crop", "resize", "pad"] = "crop"
    target: TargetField = target_field("top1")
    layer: LayerRef | None = None
    size: int | None = Field(default=None, ge=16, le=4096)
    layers: list[LayerRef] = Field(default_factory=list, max_length=3)
    ascent: Ascent = Ascent()
    clip: bool = True


SCHEMA = DreamParams.json_schema()


def found(params: dict[str, Any], schema: dict[str, Any] = SCHEMA) -> dict[str, str]:
    violations = Violations()
    check_params(params, schema, violations)
    assert set(violations.reasons) <= {"PARAMS_INVALID"}
    return {v.field: v.description for v in violations.found}


def test_good_params_pass() -> None:
    good = {"octaves": 3, "octave_scale": 2, "fit": "pad", "target": "285-281", "size": None, "layers": ["blocks.4"]}
    assert found(good) == {}
    assert found({"target": 285, "ascent": {"strength": 2}}) == {}


def test_a_whole_double_is_an_integer_and_a_broken_one_is_not() -> None:
    assert found({"octaves": 3.0}) == {}
    assert found({"octaves": 3.5}) == {"params.octaves": "given 3.5; allowed: an integer from 1 to 20"}


@pytest.mark.parametrize(
    ("params", "path", "words"),
    [
        ({"octaves": 0}, "params.octaves", "given 0; allowed: an integer from 1 to 20"),
        ({"octaves": "4"}, "params.octaves", 'given "4"; allowed: an integer from 1 to 20'),
        ({"octave_scale": 1}, "params.octave_scale", "given 1; allowed: a number above 1.0"),
        ({"fit": "cut"}, "params.fit", 'given "cut"; allowed: "crop", "resize", "pad"'),
        ({"fit": "corp"}, "params.fit", "(did you mean crop?)"),
        ({"size": 4}, "params.size", "given 4; allowed: an integer from 16 to 4096, or null"),
        ({"clip": "yes"}, "params.clip", 'given "yes"; allowed: true or false'),
        ({"target": "a b c"}, "params.target", "cannot read the target 'a b c'; write top1"),
        ({"target": 1e300}, "params.target", "cannot read the target"),
        ({"target": True}, "params.target", "given true; allowed: something like top1"),
        ({"layers": ["a", "b", "c", "d"]}, "params.layers", "allowed: a list of at most 3 items"),
        ({"layers": ["a", 1]}, "params.layers.1", "given 1; allowed: text"),
        ({"ascent": {"strength": 0}}, "params.ascent.strength", "given 0; allowed: a number above 0"),
        ({"octave": 4}, "params.octave", "no such parameter; did you mean octaves"),
        ({"zzz": 4}, "params.zzz", "allowed: ascent, clip, fit, layer, layers, octave_scale, octaves, size, target"),
    ],
)
def test_a_violation_says_the_path_what_was_given_and_what_is_allowed(
    params: dict[str, Any], path: str, words: str
) -> None:
    violations = found(params)
    assert list(violations) == [path]
    assert words in violations[path]


def test_paths_begin_where_the_parameters_are() -> None:
    violations = Violations()
    check_params({"octaves": 0, "nope": 1, "layers": [float("nan")]}, SCHEMA, violations, "updates[0].params")
    check_params({"octaves": 0, "nope": 1}, SCHEMA, violations, "updates[1].params")
    paths = ["updates[0].params.layers.0", "updates[1].params.octaves", "updates[1].params.nope"]
    assert sorted(v.field for v in violations.found) == sorted(paths)


def test_all_violations_come_in_one_answer() -> None:
    assert set(found({"octaves": 0, "fit": "cut", "nope": 1})) == {"params.octaves", "params.fit", "params.nope"}


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_none_are_refused_though_a_schema_would_take_them(number: float) -> None:
    assert "a finite number" in found({"octave_scale": number})["params.octave_scale"]


def test_endless_nesting_is_refused_before_the_schema_sees_it() -> None:
    nested: Any = 1
    for _ in range(40):
        nested = [nested]
    (words,) = found({"layers": nested}).values()
    assert words == "nested more than 16 deep"


def test_a_long_value_is_not_sent_back_in_full() -> None:
    assert len(found({"fit": "x" * 10_000})["params.fit"]) < 200


def test_references_outside_the_schema_are_not_followed() -> None:
    outside = {"type": "object", "properties": {"a": {"$ref": "http://example.invalid/schema.json"}}}
    with pytest.raises(Exception, match=r"example\.invalid"):
        found({"a": 1}, outside)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
keys = st.sampled_from(list(DreamParams.model_fields)) | st.text(max_size=8)


@given(st.dictionaries(keys, json_values, max_size=4))
def test_nothing_crashes_it_and_what_it_lets_through_has_the_schemas_types(params: dict[str, Any]) -> None:
    if not found(params):
        assert params.keys() <= DreamParams.model_fields.keys()
        assert isinstance(params.get("octaves", 1), int | float)
        Target.parse(params.get("target", "top1"))
