from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage

from convscope_techniques.synthesis.zoom import zoomed


def test_a_zoom_is_the_middle_enlarged_as_scipy_has_it() -> None:
    pixels = torch.rand(1, 3, 40, 60, generator=torch.Generator().manual_seed(0))
    share, (height, width) = 0.1, (40, 60)
    # Pixels have their centres at halves: scipy counts them from zero.
    offsets = [share * (edge / 2 - 0.5) for edge in (height, width)]
    wanted = np.stack(
        [
            ndimage.affine_transform(channel, [1 - share] * 2, offsets, order=1, mode="nearest")
            for channel in pixels[0].numpy()
        ]
    )
    assert np.abs(zoomed(pixels, share)[0].numpy() - wanted).max() < 1e-4


def test_a_zoom_of_nothing_changes_nothing() -> None:
    pixels = torch.rand(1, 3, 10, 14, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(zoomed(pixels, 0.0), pixels, atol=1e-5)
