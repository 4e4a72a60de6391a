from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

from convscope_sdk import InvalidParams, InvalidTarget, LayerRef, Params, Target, TargetField, target_field

INDICES = st.integers(0, 999_999_999)
LABELS = st.text(min_size=1, max_size=60).filter(lambda label: '"' not in label)
NAMES = st.from_regex(r"[a-z_][a-z0-9_]{0,9}(\.[a-z0-9_]{1,9}){0,3}", fullmatch=True).filter(
    lambda name: not name.startswith("top")
)
CLASSES = st.one_of(INDICES.map(lambda index: f"class:{index}"), LABELS.map(lambda label: f'class:"{label}"'))


class LookParams(Params):
    """Where to look."""

    target: TargetField = Field(target_field("top1"), description="What to explain.")
    layer: LayerRef | None = Field(None, description="Where.")


@pytest.mark.parametrize(
    ("spelling", "expected"),
    [
        ("top1", Target("top", "top1", rank=1)),
        ("class:285", Target("class", "class:285", index=285)),
        ("285", Target("class", "class:285", index=285)),
        (285, Target("class", "class:285", index=285)),
        (285.0, Target("class", "class:285", index=285)),
        ('class:"Egyptian cat"', Target("class", 'class:"Egyptian cat"', label="Egyptian cat")),
        ("class:tabby", Target("class", 'class:"tabby"', label="tabby")),
        ("class:T-shirt", Target("class", 'class:"T-shirt"', label="T-shirt")),
        ('class:"285"', Target("class", 'class:"285"', label="285")),
        ("285-281", Target("contrast", "285-281", index=285, minus=Target("class", "class:281", index=281))),
        ("blocks.4", Target("layer", "blocks.4", layer="blocks.4")),
        ("blocks.4:17", Target("channel", "blocks.4:17", layer="blocks.4", channel=17)),
        (
            "blocks.4:17@6,5",
            Target("neuron", "blocks.4:17@6,5", layer="blocks.4", channel=17, position=(6, 5)),
        ),
        ("0:3", Target("channel", "0:3", layer="0", channel=3)),
    ],
)
def test_every_documented_form_is_read(spelling: Any, expected: Target) -> None:
    assert Target.parse(spelling) == expected


@pytest.mark.parametrize("spelling", ["285 - 281", "class:285-281", " class:285 - class:281 "])
def test_spaces_and_prefixes_do_not_change_a_contrast(spelling: str) -> None:
    assert Target.parse(spelling) == Target.parse("285-281")


def test_labels_of_a_contrast_may_hold_dashes_and_prefixes() -> None:
    target = Target.parse('class:"x-class:y"-class:"French bulldog"')
    assert target.label == "x-class:y"
    assert target.minus == Target.parse('class:"French bulldog"')


@pytest.mark.parametrize(
    "value",
    [
        "",
        "  ",
        "class:",
        "-5",
        -5,
        True,
        None,
        2.5,
        float("nan"),
        "blocks.4:",
        "blocks.4:1@2",
        "a b",
        'class:"',
        [],
        {},
    ],
)
def test_what_spells_no_target_is_refused_with_every_form(value: Any) -> None:
    with pytest.raises(InvalidTarget, match=r"top1, class:285.*285-281.*blocks\.4:17@6,6"):
        Target.parse(value)


@settings(deadline=None)
@given(st.one_of(INDICES.map(str), CLASSES, st.builds("{}-{}".format, CLASSES, CLASSES)))
def test_the_canonical_text_of_a_class_reads_as_the_same_target(spelling: str) -> None:
    target = Target.parse(spelling)
    assert Target.parse(target.text) == target
    assert target.is_class


@settings(deadline=None)
@given(NAMES, st.integers(0, 10**6), st.integers(0, 10**5), st.integers(0, 10**5))
def test_the_canonical_text_of_a_unit_is_what_was_written(name: str, channel: int, y: int, x: int) -> None:
    for spelling in (name, f"{name}:{channel}", f"{name}:{channel}@{y},{x}"):
        target = Target.parse(spelling)
        assert target.text == str(target) == spelling
        assert Target.parse(target.text) == target
        assert not target.is_class


@settings(deadline=None)
@given(LABELS, LABELS)
def test_a_quoted_label_is_kept_to_the_letter(first: str, second: str) -> None:
    target = Target.parse(f'class:"{first}"-class:"{second}"')
    assert target.minus is not None
    assert (target.label, target.minus.label) == (first, second)


@settings(deadline=None)
@given(st.one_of(st.text(), st.text(alphabet='class:top"0123-@,. ab'), st.integers(), st.floats(), st.none()))
def test_nothing_a_caller_writes_crashes_the_reader(value: Any) -> None:
    try:
        target = Target.parse(value)
    except InvalidTarget:
        return
    assert Target.parse(target.text) == target


@pytest.mark.parametrize(
    "value",
    ["class:a-" * 500_000 + " b", "9" * 1_000_000, 10**100_000, "a." * 1_000_000],
    ids=str.split("pairs digits number name"),
)
def test_a_hostile_length_is_refused_at_once_and_shown_in_part(value: str | int) -> None:
    started = time.perf_counter()
    with pytest.raises(InvalidTarget) as refusal:
        Target.parse(value)
    assert time.perf_counter() - started < 0.5
    assert len(str(refusal.value)) < 400


def test_a_field_takes_spellings_indices_and_targets_and_gives_back_text() -> None:
    for value in ("class:3", 3, Target.parse(3)):
        params = LookParams.parse({"target": value, "layer": " blocks.4 "})
        assert params.target == Target.parse("class:3")
        assert params.model_dump(mode="json") == {"target": "class:3", "layer": "blocks.4"}


def test_a_field_that_cannot_be_read_is_named() -> None:
    with pytest.raises(InvalidParams) as refusal:
        LookParams.parse({"target": "a b", "layer": "no layer"})
    assert [v.field for v in refusal.value.violations] == ["params.target", "params.layer"]


@pytest.mark.parametrize("value", [True, 7, "", "a b", "blocks.", "a" * 1000])
def test_what_names_no_layer_is_refused(value: Any) -> None:
    with pytest.raises(InvalidParams, match="layer"):
        LookParams.parse({"layer": value})


def test_no_layer_stays_no_layer() -> None:
    assert LookParams.parse({"layer": None}).layer is None


def test_the_schema_says_how_a_target_is_written() -> None:
    fields = LookParams.json_schema()["properties"]
    assert fields["target"]["format"] == "convscope-target"
    assert fields["target"]["default"] == "top1"
    for example in fields["target"]["examples"]:
        assert Target.parse(example).text
