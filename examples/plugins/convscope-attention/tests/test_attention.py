"""Attention maps against matrices computed by hand, on tiny transformers of both libraries."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from convscope_attention import convscope_techniques
from convscope_attention.gradient import gradient
from convscope_attention.rollout import rolled_out, rollout
from convscope_attention.tap import AttentionTap
from convscope_attention.tokens import Attention, attend
from convscope_sdk import Event, Heatmap, ModelSpec, Network, NotApplicable, Note, Target, Tensor
from convscope_sdk.isolation import ModeGuard, NetworkGuard
from convscope_sdk.torchvision_ops import ensure_torchvision

ensure_torchvision()
EDGE, PATCH, GRID = 32, 8, 4


def timm_vit(*, fused: bool = True, **options: Any) -> nn.Module:
    from timm.models.vision_transformer import VisionTransformer

    settings = {"img_size": EDGE, "patch_size": PATCH, "embed_dim": 24, "depth": 3, "num_heads": 3, "num_classes": 7}
    module = VisionTransformer(**{**settings, **options})
    for block in module.blocks:
        block.attn.fused_attn = fused
    return module


def torchvision_vit() -> nn.Module:
    from torchvision.models.vision_transformer import VisionTransformer

    module = VisionTransformer(EDGE, PATCH, 3, 3, 24, 48, num_classes=7)
    nn.init.normal_(module.heads.head.weight)  # it begins with zeros
    return module


def network(build: Callable[[], nn.Module]) -> Network:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        found = Network(build(), ModelSpec("tiny", "test", build, input_size=EDGE, random_weights=True))
    assert found.layers  # it has been looked through once
    return found


VITS: dict[str, tuple[Callable[[], nn.Module], int, int]] = {
    "timm, class token": (timm_vit, 1, 1),
    "timm, not fused": (lambda: timm_vit(fused=False), 1, 1),
    "timm, registers": (lambda: timm_vit(reg_tokens=4), 5, 1),
    "timm, mean of patches": (lambda: timm_vit(class_token=False, global_pool="avg"), 0, GRID * GRID),
    "timm, registers, mean of patches": (
        lambda: timm_vit(class_token=False, global_pool="avg", reg_tokens=2),
        2,
        GRID * GRID,
    ),
    "torchvision": (torchvision_vit, 1, 1),
}


@pytest.fixture(params=VITS)
def vit(request: pytest.FixtureRequest) -> tuple[Network, int, int]:
    build, prefix, read = VITS[request.param]
    return network(build), prefix, read


@pytest.fixture
def pixels() -> torch.Tensor:
    return torch.rand(1, 3, EDGE, EDGE, generator=torch.Generator().manual_seed(1))


def attended(net: Network, pixels: torch.Tensor) -> Attention:
    return attend(net, pixels, Target.parse("class:2"))


def test_the_logits_are_those_of_the_network(vit: tuple[Network, int, int], pixels: torch.Tensor) -> None:
    net, _, _ = vit
    assert torch.allclose(attended(net, pixels).logits, net.logits(pixels), atol=1e-5)


def test_patches_prefix_and_what_is_read_are_found(vit: tuple[Network, int, int], pixels: torch.Tensor) -> None:
    net, prefix, read = vit
    found = attended(net, pixels)
    assert len(found.matrices) == 3
    assert found.grid == (GRID, GRID)
    assert found.prefix == prefix
    assert int((found.read > 0).sum()) == read
    assert found.read[:prefix].sum() == (1 if read == 1 else 0)
    for matrix in found.matrices:
        assert torch.allclose(matrix.sum(-1), torch.ones(3, GRID * GRID + prefix), atol=1e-5)


def test_the_matrices_are_those_of_the_projections(pixels: torch.Tensor) -> None:
    """By hand, from the weights of the first layer of each library's network."""
    net = network(timm_vit)
    block: Any = net.module.blocks[0]  # type: ignore[index, union-attr]  # torch types submodules loosely
    taken: list[torch.Tensor] = []
    handle = block.norm1.register_forward_hook(lambda _m, _i, output: taken.append(output))
    found = attended(net, pixels)
    handle.remove()
    query, key, _ = block.attn.qkv(taken[0]).view(1, GRID**2 + 1, 3, 3, 8).permute(2, 0, 3, 1, 4)
    expected = torch.einsum("bhid,bhjd->bhij", query, key).div(8**0.5).softmax(-1)[0]
    assert torch.allclose(found.matrices[0], expected, atol=1e-5)


def test_torchvisions_matrices_are_those_that_its_own_module_tells(pixels: torch.Tensor) -> None:
    net = network(torchvision_vit)
    layer: Any = net.module.encoder.layers[1]  # type: ignore[index, union-attr]  # torch types submodules loosely
    taken: list[torch.Tensor] = []
    handle = layer.ln_1.register_forward_hook(lambda _m, _i, output: taken.append(output))
    found = attended(net, pixels)
    handle.remove()
    tokens = taken[0].detach()
    _, expected = layer.self_attention(tokens, tokens, tokens, need_weights=True, average_attn_weights=False)
    assert torch.allclose(found.matrices[1], expected[0], atol=1e-5)


def test_a_rollout_is_the_sum_over_all_ways_through_the_layers() -> None:
    """Not as a matrix product: every path of tokens, one by one."""
    generator = torch.Generator().manual_seed(0)
    matrices = tuple(torch.rand(2, 4, 4, generator=generator, dtype=torch.float64).softmax(-1) for _ in range(3))
    mixed = [0.5 * m.mean(0).numpy() + 0.5 * np.eye(4) for m in matrices]
    expected = np.zeros((4, 4))
    for end, b, a, start in itertools.product(range(4), repeat=4):
        expected[end, start] += mixed[2][end, b] * mixed[1][b, a] * mixed[0][a, start]
    assert np.allclose(rolled_out(matrices).numpy(), expected)


def test_relevance_is_what_the_papers_rules_say(pixels: torch.Tensor) -> None:
    """In NumPy, from gradients by finite differences of one matrix entry."""
    from convscope_attention.gradient import relevance

    found = attended(network(timm_vit), pixels)
    expected = np.eye(GRID**2 + 1)
    for matrix, slope in zip(found.matrices, found.gradients, strict=True):
        update = np.maximum(matrix.numpy() * slope.numpy(), 0).mean(0)
        expected = expected + update @ expected
    assert np.allclose(relevance(found.matrices, found.gradients).numpy(), expected, atol=1e-6)


def test_a_gradient_is_the_change_of_the_score_with_one_entry(pixels: torch.Tensor) -> None:
    net = network(timm_vit)
    net.module.double()
    net._mean, net._std = net._mean.double(), net._std.double()
    found = attend(net, pixels.double(), Target.parse("class:2"))

    class Nudged(AttentionTap):
        step = 0.0

        def _scaled_dot_product(self, query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> Any:
            mixed = super()._scaled_dot_product(query, key, value, *args, **kwargs)
            if len(self.matrices) == 2:
                mixed = mixed.clone()
                mixed[0, 1, 0] += self.step * value[0, 1, 5]
            return mixed

    scores = []
    for step in (-1e-4, 1e-4):
        with torch.no_grad(), Nudged() as tap:
            tap.step = step
            scores.append(net.logits(pixels.double())[0, 2])
    assert torch.isclose((scores[1] - scores[0]) / 2e-4, found.gradients[1][1, 0, 5], rtol=1e-4)


def events(technique: Any, net: Network, **params: Any) -> Iterator[Event]:
    picture = np.random.default_rng(0).random((EDGE, EDGE, 3)).astype(np.float32)
    yield from technique.run(net, picture, size=EDGE, **params)


@pytest.mark.parametrize("technique", [rollout, gradient], ids=lambda t: t.id)
def test_a_run_gives_maps_over_patches_and_picture_and_says_what_it_found(
    technique: Any, vit: tuple[Network, int, int]
) -> None:
    net, prefix, _ = vit
    made = list(events(technique, net, target="class:2"))
    (drawn,) = [event for event in made if isinstance(event, Heatmap)]
    (patches,) = [event for event in made if isinstance(event, Tensor)]
    assert tuple(drawn.values.shape) == (EDGE, EDGE)
    assert tuple(patches.values.shape) == (GRID, GRID)
    assert bool((patches.values >= 0).all())
    (note,) = [event.text for event in made if isinstance(event, Note)]
    assert f"{GRID}x{GRID} patches" in note
    assert ("registers" in note) == (prefix > 0)


def test_each_target_has_a_map_of_its_own_but_for_the_rollout() -> None:
    net = network(timm_vit)

    def patches(technique: Any, target: str) -> np.ndarray[Any, Any]:
        return next(e.values.numpy() for e in events(technique, net, target=target) if isinstance(e, Tensor))

    assert np.allclose(patches(rollout, "class:1"), patches(rollout, "class:4"))
    assert not np.allclose(patches(gradient, "class:1"), patches(gradient, "class:4"))


def convolutional() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 7))


def in_windows() -> nn.Module:
    from timm.models.swin_transformer import SwinTransformer

    return SwinTransformer(
        img_size=EDGE, patch_size=2, embed_dim=12, depths=(1, 1), num_heads=(2, 2), window_size=4, num_classes=7
    )


@pytest.mark.parametrize(("build", "words"), [(convolutional, "no attention"), (in_windows, "in windows")])
@pytest.mark.parametrize("technique", [rollout, gradient], ids=lambda t: t.id)
def test_what_has_no_global_attention_is_refused_with_what_applies(
    technique: Any, build: Callable[[], nn.Module], words: str
) -> None:
    with pytest.raises(NotApplicable, match=words) as caught:
        list(events(technique, network(build)))
    assert "grad_cam" in str(caught.value)


@pytest.mark.parametrize("technique", [rollout, gradient], ids=lambda t: t.id)
def test_nothing_is_left_on_the_network(technique: Any, vit: tuple[Network, int, int]) -> None:
    net, _, _ = vit
    modes, guard = ModeGuard(), NetworkGuard(net.module)
    for _ in events(technique, net):
        assert modes.leaks() == guard.leaks() == []
    assert not guard.values_changed()


def test_the_package_offers_both() -> None:
    assert {technique.id for technique in convscope_techniques()} == {"attention.rollout", "attention.gradient"}
