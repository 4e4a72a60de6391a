"""DGN-AM written out in NumPy as the authors' scripts have it: two normalised steps, each with its own network."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from convscope_sdk.models import CodeFacts
from convscope_techniques.synthesis.latent_visualization import latent_visualization
from support.collected import Collected
from support.painters import Flat, generator
from support.zoo import network_of

Array = NDArray[np.float64]
UNITS, EDGE, SEEN, CLASSES = 12, 8, 6, 5
DECAY, BOUND = 0.99, 3.0


def _step_in_picture(pixels: Array, weights: Array, unit: int, rate: float) -> Array:
    """The picture after one normalised step towards a linear classifier's unit."""
    gradient = weights[unit].reshape(pixels.shape)
    return pixels + rate / np.abs(gradient).mean() * gradient


def _step_in_code(code: Array, painting: Array, change: Array, matrix: Array, rate: float) -> Array:
    """The code after one normalised step along what the picture's change is to it."""
    backward = matrix.T @ (change * painting * (1 - painting)).reshape(-1)
    return code + rate / np.abs(backward).mean() * backward


def _by_hand(  # noqa: PLR0917 - what the scripts have as globals
    code: Array, matrix: Array, bias: Array, weights: Array, sigma: Array, unit: int, steps: int, start: float
) -> Array:
    border = (EDGE - SEEN) // 2
    for step in range(steps):
        rate = start + (1e-10 - start) * step / steps
        painting = (1 / (1 + np.exp(-(matrix @ code + bias)))).reshape(3, EDGE, EDGE)
        inner = painting[:, border : border + SEEN, border : border + SEEN]
        updated = painting.copy()
        updated[:, border : border + SEEN, border : border + SEEN] = _step_in_picture(inner, weights, unit, rate)
        code = _step_in_code(code, painting, updated - painting, matrix, rate)
        code = np.clip(code, 0, BOUND * sigma) * DECAY
    return code


def test_the_codes_are_those_of_the_authors_two_normalised_steps() -> None:
    torch.manual_seed(0)
    painter, head = Flat(UNITS, EDGE), nn.Linear(3 * SEEN * SEEN, CLASSES)
    painter.register_buffer("sigma", torch.rand(UNITS) + 0.2)
    lens = generator(painter, (UNITS,), CodeFacts(sigma="sigma"))
    network = network_of(flat=nn.Flatten(), head=head, size=SEEN)
    seen = Collected(
        latent_visualization.run(
            network,
            models={"painter": lens},
            generator="painter",
            preset="nguyen-2016",
            target="class:2",
            steps=9,
            step_size=0.7,
            seed=5,
        )
    )
    # The normalisation of the classifier is a constant factor of its linear gradient in each channel.
    scale = torch.tensor(network.spec.std).repeat_interleave(SEEN * SEEN)
    torch.default_generator.manual_seed(5)
    start = (torch.randn(1, UNITS) * painter.sigma).clamp(painter.sigma * 0, BOUND * painter.sigma)  # type: ignore[operator]  # a buffer
    matrix, bias, weights, sigma = (
        tensor.detach().double().numpy()
        for tensor in (painter.paint.weight, painter.paint.bias, head.weight / scale, painter.sigma)  # type: ignore[union-attr]
    )
    expected = _by_hand(start[0].double().numpy(), matrix, bias, weights, sigma, 2, 9, 0.7)
    assert np.allclose(seen.tensor("code")[0].numpy(), expected, atol=1e-5)
    assert not np.allclose(expected, start[0].numpy(), atol=1e-2)
