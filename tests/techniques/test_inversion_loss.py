from __future__ import annotations

import pytest
import torch

from convscope_techniques.generators.inversion_loss import InversionLoss, fitted
from support.zoo import tiny

PIXELS = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def loss(image: float = 1.0, feature: float = 1.0) -> InversionLoss:
    return InversionLoss(tiny(), {"relu2": 0.5, "relu3": 2.0}, 0.1, image, feature)


def features(pixels: torch.Tensor) -> dict[str, torch.Tensor]:
    return tiny().activations(pixels, "relu2", "relu3")


def test_the_picture_itself_costs_nothing() -> None:
    assert [float(term) for term in loss()(PIXELS, PIXELS, features(PIXELS)).values()] == [0, 0]


def test_terms_are_squared_errors_as_parts_of_variances() -> None:
    made = PIXELS.flip(0)
    terms = loss(image=3.0, feature=0.5)(made, PIXELS, features(PIXELS))
    assert float(terms["image"]) == pytest.approx(3 * float((made - PIXELS).square().mean()) / 0.1, rel=1e-5)
    errors = [float((features(made)[name] - features(PIXELS)[name]).square().mean()) for name in ("relu2", "relu3")]
    assert float(terms["features"]) == pytest.approx(0.5 * (errors[0] / 0.5 + errors[1] / 2.0) / 2, rel=1e-5)


def test_a_term_without_weight_is_left_out() -> None:
    assert loss(feature=0)(PIXELS, PIXELS, {}).keys() == {"image"}
    assert loss(image=0)(PIXELS, PIXELS, features(PIXELS)).keys() == {"features"}


def test_a_picture_of_another_size_is_compared_at_its_own_and_looked_at_at_the_networks() -> None:
    made = fitted(PIXELS, 48).requires_grad_()
    terms = loss()(made, PIXELS, features(PIXELS))
    assert float(terms["image"].detach()) < 1e-6
    assert float(terms["features"].detach()) < 0.05
    (gradient,) = torch.autograd.grad(terms["features"], made)
    assert gradient.abs().max() > 0
