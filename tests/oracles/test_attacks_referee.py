"""The attacks against torchattacks, captum, and the textbook updates."""

from __future__ import annotations

from typing import Any

import captum.robust
import numpy as np
import pytest
import torch
import torchattacks
from torch import Tensor, nn

from convscope_techniques.synthesis.fgsm import fgsm
from convscope_techniques.synthesis.pgd import pgd
from support.collected import Collected
from support.fickle import fickle

PICTURE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
PIXELS = (torch.from_numpy(PICTURE).permute(2, 0, 1)[None] / 255).contiguous()
WINNER = int(fickle().logits(PIXELS).argmax())
TARGETS = [None, int(fickle().logits(PIXELS).argmin())]


def ours(technique: Any, **params: Any) -> Tensor:
    return Collected(technique.run(fickle(), PICTURE, fit="resize", **params)).tensor("adversarial")[None]


def gradient(pixels: Tensor, target: int | None) -> Tensor:
    leaf = pixels.detach().clone().requires_grad_()
    loss = nn.CrossEntropyLoss()(fickle().logits(leaf), torch.tensor([WINNER if target is None else target]))
    return torch.autograd.grad(loss if target is None else -loss, leaf)[0]


def textbook_pgd(target: int | None, eps: float, alpha: float, steps: int) -> Tensor:
    adversarial = PIXELS.clone()
    for _ in range(steps):
        adversarial = adversarial + alpha * gradient(adversarial, target).sign()
        delta = torch.clamp(adversarial - PIXELS, min=-eps, max=eps)
        adversarial = torch.clamp(PIXELS + delta, min=0, max=1)
    return adversarial


def textbook_pgd_l2(target: int | None, eps: float, alpha: float, steps: int) -> Tensor:
    adversarial = PIXELS.clone()
    for _ in range(steps):
        slope = gradient(adversarial, target)
        norms = torch.norm(slope.view(1, -1), p=2, dim=1) + 1e-10
        adversarial = adversarial + alpha * slope / norms.view(1, 1, 1, 1)
        delta = adversarial - PIXELS
        factor = torch.min(eps / torch.norm(delta.view(1, -1), p=2, dim=1), torch.ones(1))
        adversarial = torch.clamp(PIXELS + delta * factor.view(-1, 1, 1, 1), min=0, max=1)
    return adversarial


@pytest.mark.parametrize("target", TARGETS)
def test_pgd_equals_the_textbook_update(target: int | None) -> None:
    mine = ours(pgd, target=target, epsilon=8 / 255, step_size=2 / 255, random_start=False)
    assert torch.equal(mine, textbook_pgd(target, 8 / 255, 2 / 255, 10))


@pytest.mark.parametrize("target", TARGETS)
def test_pgd_by_l2_equals_the_textbook_update(target: int | None) -> None:
    mine = ours(pgd, norm="l2", target=target, epsilon=1.0, step_size=0.2, random_start=False)
    assert float((mine - textbook_pgd_l2(target, 1.0, 0.2, 10)).abs().max()) <= 1e-6


def by_torchattacks(name: str, target: int | None, **params: Any) -> Tensor:
    """As its README: a model from pixels in [0, 1] to logits."""
    model = _FromPixels().eval()
    attack = getattr(torchattacks, name)(model, **params)
    if target is not None:
        attack.set_mode_targeted_by_label(quiet=True)
    adversarial: Tensor = attack(PIXELS, torch.tensor([WINNER if target is None else target]))
    return adversarial


class _FromPixels(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.module = fickle().module

    def forward(self, pixels: Tensor) -> Tensor:
        return fickle().logits(pixels)


@pytest.mark.parametrize("target", TARGETS)
def test_pgd_equals_torchattacks(target: int | None) -> None:
    mine = ours(pgd, target=target, epsilon=8 / 255, step_size=2 / 255, random_start=False)
    assert torch.equal(mine, by_torchattacks("PGD", target, random_start=False))


@pytest.mark.parametrize("target", TARGETS)
def test_pgd_by_l2_equals_torchattacks(target: int | None) -> None:
    mine = ours(pgd, norm="l2", target=target, epsilon=1.0, step_size=0.2, random_start=False)
    assert float((mine - by_torchattacks("PGDL2", target, random_start=False)).abs().max()) <= 1e-6


@pytest.mark.parametrize("target", TARGETS)
def test_fgsm_equals_torchattacks(target: int | None) -> None:
    assert torch.equal(ours(fgsm, target=target, epsilon=8 / 255), by_torchattacks("FGSM", target))


@pytest.mark.filterwarnings("ignore:Input Tensor 0 did not already require")
@pytest.mark.parametrize("target", TARGETS)
def test_fgsm_equals_captum(target: int | None) -> None:
    attack = captum.robust.FGSM(fickle().logits, nn.CrossEntropyLoss(reduction="none"), lower_bound=0, upper_bound=1)
    attack.zero_thresh = 0
    index = torch.tensor([WINNER if target is None else target])
    theirs = attack.perturb(PIXELS, epsilon=8 / 255, target=index, targeted=target is not None)
    assert torch.equal(ours(fgsm, target=target, epsilon=8 / 255), theirs)


@pytest.mark.filterwarnings("ignore:Input Tensor 0 did not already require")
@pytest.mark.parametrize("target", TARGETS)
def test_pgd_equals_captum(target: int | None) -> None:
    attack = captum.robust.PGD(fickle().logits, nn.CrossEntropyLoss(reduction="none"), lower_bound=0, upper_bound=1)
    attack.fgsm.zero_thresh = 0
    index = torch.tensor([WINNER if target is None else target])
    theirs = attack.perturb(
        PIXELS, radius=8 / 255, step_size=2 / 255, step_num=10, target=index, targeted=target is not None
    )
    mine = ours(pgd, target=target, epsilon=8 / 255, step_size=2 / 255, random_start=False)
    assert float((mine - theirs).abs().max()) <= 1e-6
