from __future__ import annotations

from typing import Any

import pytest

from convscope.catalog import TechniqueInfo
from convscope.cli.schema import Parameter, example, parameters, parse

SCHEMA: dict[str, Any] = {
    "$defs": {"Scale": {"enum": ["global", "per_filter"], "type": "string"}},
    "properties": {
        "target": {"type": ["string", "integer"], "format": "convscope-target", "default": "top1"},
        "name": {"type": "string"},
        "steps": {"type": "integer", "exclusiveMinimum": 0, "maximum": 9},
        "size": {"anyOf": [{"type": "integer", "minimum": 16}, {"type": "null"}], "default": None},
        "rate": {"type": "number"},
        "clip": {"type": "boolean"},
        "layers": {"type": "array", "items": {"type": "string"}},
        "sizes": {"type": "array", "items": {"type": "integer"}},
        "scale": {"$ref": "#/$defs/Scale"},
    },
}


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("target", "285", 285),
        ("target", "285-281", "285-281"),
        ("target", 'class:"Egyptian cat"', 'class:"Egyptian cat"'),
        ("name", "5", "5"),
        ("name", "true", "true"),
        ("name", '"quoted"', "quoted"),
        ("steps", "5", 5),
        ("steps", "many", "many"),
        ("size", "null", None),
        ("size", "64", 64),
        ("rate", "0.5", 0.5),
        ("clip", "false", False),
        ("layers", "a,b", ["a", "b"]),
        ("layers", '["a"]', ["a"]),
        ("sizes", "1, 2", [1, 2]),
        ("sizes", "3", [3]),
        ("scale", "global", "global"),
        ("unknown", "1.5", 1.5),
    ],
)
def test_text_becomes_what_the_schema_wants(name: str, text: str, value: Any) -> None:
    parsed = parse({name: text}, SCHEMA)[name]
    assert parsed == value
    assert type(parsed) is type(value)


def test_parameters_become_rows() -> None:
    rows = {row.name: row for row in parameters(SCHEMA)}
    assert rows["target"] == Parameter("target", "target", '"top1"', "", "")
    assert rows["steps"].allowed == "> 0, ≤ 9"
    assert (rows["size"].type, rows["size"].default, rows["size"].allowed) == ("integer or null", "null", "≥ 16")
    assert (rows["scale"].type, rows["scale"].allowed) == ("string", "global, per_filter")


def test_an_example_shows_what_the_technique_needs() -> None:
    technique = TechniqueInfo("style", "", SCHEMA, frozenset({"image"}), extra_images={"style": "its brush"})
    assert example(technique) == (
        "convscope run style --image cat.jpg --extra style=style.jpg -p target=top1 --out out"
    )
