from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from convscope_sdk.errors import InvalidImage
from convscope_sdk.inprocess import prepare
from convscope_techniques.attribution.ground_truth import ground_truth, iou
from convscope_techniques.segmentation.segmentation import segmentation
from support.zoo import tiny

PICTURE = np.zeros((64, 96, 3), dtype=np.uint8)
MASK = np.zeros((64, 96), dtype=np.uint8)
MASK[16:48, 32:64] = 255


def _truth(mask: Any = MASK, **params: Any) -> torch.Tensor | None:
    extras = {} if mask is None else {"mask": mask}
    return ground_truth(prepare(segmentation, tiny(), PICTURE, extra_images=extras, params=params).run)


def test_without_a_mask_there_is_no_truth() -> None:
    assert _truth(None) is None


@pytest.mark.parametrize(("params", "shape"), [({"fit": "keep", "size": 48}, (32, 48)), ({"fit": "resize"}, (32, 32))])
def test_the_mask_is_fitted_as_the_picture_is(params: dict[str, Any], shape: tuple[int, int]) -> None:
    truth = _truth(**params)
    assert truth is not None
    expected = torch.zeros(shape, dtype=torch.bool)
    expected[shape[0] // 4 : shape[0] * 3 // 4, shape[1] // 3 : shape[1] * 2 // 3] = True
    assert iou(truth, expected) > 0.85


def test_padding_is_no_object() -> None:
    truth = _truth(np.full((64, 96), 255, dtype=np.uint8), fit="pad")
    assert truth is not None
    assert not truth[:4].any()
    assert truth[8:24].all()


def test_a_mask_of_other_proportions_is_refused_where_that_shows() -> None:
    with pytest.raises(InvalidImage, match="proportions"):
        _truth(MASK[:, :64], fit="keep", size=48)


def test_a_mask_without_an_object_is_refused() -> None:
    with pytest.raises(InvalidImage, match="no white pixel"):
        _truth(np.zeros((64, 96), dtype=np.uint8))


def test_iou_counts_pixels() -> None:
    first, second = torch.zeros(2, 4, 4, dtype=torch.bool)
    assert iou(first, second) == 0
    first[:2], second[1:3] = True, True
    assert iou(first, second) == pytest.approx(1 / 3)
