"""From a style to a painter to a painting, without a server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import convscope
from support.pictures import encoded, photo
from support.training_plugin import TRAINING

QUICK: dict[str, Any] = {
    "content_layers": ["0"],
    "style_layers": ["0"],
    "steps": 3,
    "batch": 1,
    "size": 32,
    "style_size": 32,
    "width": 4,
    "blocks": 1,
    "checkpoint_every": 2,
}


def test_a_style_is_taught_named_listed_described_and_painted_with(tmp_path: Path) -> None:
    with convscope.embedded(models_dir=tmp_path / "models", plugin_files=[TRAINING]) as client:

        def teach(**params: Any) -> convscope.Run:
            style = {"style": encoded(photo(40, 40))}
            return client.visualize("fast_style_training", model="blank", extra_images=style, **{**QUICK, **params})

        result = teach(name="mine").result()
        (row,) = result.tables["model"]
        assert (row["name"], row["kind"], row["architecture"]) == ("mine", "stylizer", "convscope:style_net")
        listed = {info.name: info for info in client.models()}
        assert listed["mine"].kind == "stylizer"
        assert client.model("mine").layers[-1].name == "deconv3"
        painted = client.visualize("fast_style_transfer", model="mine", image=encoded(photo(50, 30)), size=40).result()
        assert painted.images["stylized"].size == (40, 24)

        with pytest.raises(convscope.ConvscopeError, match="is there already") as refusal:
            teach(name="mine").result()
        assert getattr(refusal.value, "reason", "") == "MODEL_NAME_TAKEN"
        longer = teach(name="mine", resume="mine", steps=5).result()
        assert [row["step"] for row in longer.tables["losses"]] == [4, 5]
    with convscope.embedded(models_dir=tmp_path / "models") as client:
        assert "mine" in {info.name for info in client.models()}
