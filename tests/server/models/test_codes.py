"""Generators in a directory of models: what their codes are, and how far each unit spreads."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from convscope_sdk.events import TrainedModel
from convscope_sdk.models import Architecture, CodeFacts
from convscope_sdk.network import Network
from convscope_server.models.errors import ModelBroken
from convscope_server.models.shelf import Shelf
from convscope_server.models.sources.folder import FolderSource

CODES = CodeFacts("efficientnet_lite0", "blocks.4", "spread", rectified=False)


def build() -> nn.Module:
    return nn.Sequential(nn.Conv2d(5, 3, 1), nn.Sigmoid())


ARCHITECTURES = {"painter": Architecture("painter", build)}


def put(directory: Path, spread: Tensor | None, codes: CodeFacts | None = CODES) -> None:
    state = dict(build().state_dict()) | ({} if spread is None else {"spread": spread})
    made = TrainedModel("mine", state, "convscope:painter", kind="generator", code_shape=(5, 4, 4), codes=codes)
    shelf = Shelf(directory, architectures=ARCHITECTURES)
    claim = shelf.claim("mine", run="run")
    try:
        shelf.put(claim, made, {"run": "run"})
    finally:
        claim.release()


def network(directory: Path) -> Network:
    spec = FolderSource(directory, architectures=ARCHITECTURES).spec("mine")
    assert spec is not None
    return Network(spec.build(), spec)


def test_a_trained_generator_comes_back_with_what_its_codes_are(tmp_path: Path) -> None:
    spread = torch.tensor([1.0, 2, 3, 4, 5]).view(5, 1, 1)
    put(tmp_path, spread)
    made = network(tmp_path)
    assert made.spec.codes == CODES
    assert torch.equal(made.code_sigma, spread.expand(5, 4, 4))
    assert made.generate(torch.rand(2, 5, 4, 4)).shape == (2, 3, 4, 4)


def test_a_generator_may_say_nothing_of_its_codes(tmp_path: Path) -> None:
    put(tmp_path, None, codes=None)
    assert network(tmp_path).spec.codes is None


@pytest.mark.parametrize(
    ("spread", "match"),
    [
        (None, "no tensor 'spread'"),
        (torch.ones(6, 1, 1), "no deviation for each unit"),
        (torch.ones(2, 5, 4, 4), "no deviation for each unit"),
        (-torch.ones(5, 1, 1), "no deviation for each unit"),
        (torch.full((5, 1, 1), torch.nan), "no deviation for each unit"),
    ],
)
def test_deviations_that_are_missing_or_of_other_codes_are_refused(
    tmp_path: Path, spread: Tensor | None, match: str
) -> None:
    put(tmp_path, torch.ones(5, 1, 1))
    file = next((tmp_path / "mine").glob("weights-*.safetensors"))
    save_file(dict(build().state_dict()) | ({} if spread is None else {"spread": spread}), file)
    with pytest.raises(ModelBroken, match=match):
        network(tmp_path)


def test_an_unknown_key_in_the_table_is_refused_by_name(tmp_path: Path) -> None:
    put(tmp_path, torch.ones(5, 1, 1))
    file = tmp_path / "mine" / "model.toml"
    file.write_text(file.read_text().replace('layer = "blocks.4"', 'lajer = "blocks.4"'))
    with pytest.raises(ModelBroken, match=r"codes\.lajer"):
        network(tmp_path)
