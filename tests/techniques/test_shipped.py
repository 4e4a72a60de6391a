from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch

from convscope_sdk.network import Network
from convscope_techniques import convscope_architectures, convscope_model_sources
from convscope_techniques.shipped import source
from convscope_techniques.shipped.source import ShippedSource
from convscope_techniques.synthesis.latent_visualization import LatentVisualizationParams, latent_visualization
from support.collected import Collected
from support.zoo import efficientnet

FOLDERS = sorted(file.parent for file in Path(source.__file__).parent.glob("*/model.toml"))
GENERATOR = "inversion_efficientnet_lite0"


def shipped(name: str) -> Network:
    spec = ShippedSource(convscope_architectures()).spec(name)
    assert spec is not None
    return Network(spec.build(), spec)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_model_that_ships_is_small_loads_and_says_how_it_was_made(folder: Path) -> None:
    assert sum(file.stat().st_size for file in folder.iterdir()) < 3_500_000
    assert "How it was made" in (folder / "README.md").read_text(encoding="utf-8")
    network = shipped(folder.name)
    assert all(bool(tensor.isfinite().all()) for tensor in network.module.state_dict().values())


def test_they_are_offered_to_every_host() -> None:
    (offered,) = convscope_model_sources()
    assert [(e.name, e.kind) for e in offered.entries() if e.name == GENERATOR] == [(GENERATOR, "generator")]
    assert offered.spec("something else") is None


def test_the_generator_is_the_one_that_is_searched_where_none_is_named() -> None:
    assert LatentVisualizationParams().generator == GENERATOR


def test_the_generator_gives_a_photograph_of_its_set_back_in_its_colours_and_outlines() -> None:
    generator, network = shipped(GENERATOR), efficientnet()
    cat = torch.from_numpy(np.ascontiguousarray(skimage.data.chelsea()[20:212, 130:322])).permute(2, 0, 1)[None] / 255
    assert generator.spec.codes is not None
    with torch.no_grad():
        code = network.activations(cat, generator.spec.codes.layer)[generator.spec.codes.layer]
        made = generator.generate(code)
    error = (made - cat).square().mean()
    assert float(error) < 0.6 * float((cat - cat.mean((2, 3), keepdim=True)).square().mean())
    assert float(code.max()) <= 6


def test_a_class_wins_through_it_with_a_picture_smoother_than_noise() -> None:
    seen = Collected(
        latent_visualization.run(
            efficientnet(), models={GENERATOR: shipped(GENERATOR)}, target="class:flamingo", steps=25, size=128
        )
    )
    assert seen.scores["target_won"] == 1
    assert seen.scores["target_probability"] > 0.9
    assert seen.scores["total_variation"] < 0.04
