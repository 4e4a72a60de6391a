from __future__ import annotations

import torch

from convscope_sdk.events import Progress
from convscope_techniques.texture.colours import luma
from convscope_techniques.texture.fast_style_transfer import fast_style_transfer
from support.collected import Collected
from support.painters import stylizer
from support.pictures import photo


def collect(**params: object) -> Collected:
    return Collected(fast_style_transfer.run(stylizer(), photo(90, 60), **params))


def test_the_painting_has_the_size_of_the_input() -> None:
    seen = collect(size=60)
    assert seen.tensor("stylized").shape == (3, 40, 60)
    assert set(seen.scores) == {"l2", "linf", "total_variation", "edge_agreement"}


def test_the_models_own_normalisation_goes_in_and_out() -> None:
    network = stylizer()
    pixels = torch.rand(1, 3, 40, 60)
    seen = Collected(fast_style_transfer.run(network, (pixels[0] * 255).byte().permute(1, 2, 0).numpy(), size=60))
    expected = network.module((255 * pixels).floor())[..., :40, :60] / 255
    assert torch.allclose(seen.tensor("stylized"), expected[0].clamp(0, 1), atol=1e-4)


def test_kept_colours_are_the_pictures_at_the_paintings_brightness() -> None:
    plain, kept = collect(size=60).tensor("stylized"), collect(size=60, keep_colours=True).tensor("stylized")
    assert not torch.allclose(plain, kept)
    inside = (kept > 0).all(0) & (kept < 1).all(0)
    assert inside.any()
    assert torch.allclose(luma(plain[None])[0, 0][inside], luma(kept[None])[0, 0][inside], atol=1e-4)


def test_a_large_picture_streams_its_tiles() -> None:
    seen = collect(size=300, tile=256)
    assert [p.step for p in seen.all(Progress)] == list(range(1, 7))
