"""The cut against OpenCV's grabCut, from the same trimap, on photographs."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
import skimage.data

from convscope_sdk.target import Target
from convscope_techniques.segmentation.evidence import Average, EvidenceParams
from convscope_techniques.segmentation.grab_cut import GrabCut
from convscope_techniques.segmentation.segmentation import seeds_of
from support.referee import pixels_of
from support.zoo import efficientnet

PHOTOGRAPHS = {
    "chelsea": skimage.data.chelsea,
    "coffee": skimage.data.coffee,
    "astronaut": skimage.data.astronaut,
    "motorcycle": lambda: skimage.data.stereo_motorcycle()[0],
}


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("photograph", PHOTOGRAPHS)
def test_five_iterations_give_opencvs_mask(photograph: str, fixed: bool) -> None:
    """OpenCV begins with labels, not with models: it is given those of our first cut."""
    pixels = pixels_of(efficientnet(), PHOTOGRAPHS[photograph]())
    target = efficientnet().resolve(Target.parse("top1"), pixels)
    average = Average.of(efficientnet(), pixels, target, EvidenceParams(average="none", blur=4), batch=1)
    saliency = average.saliency(average.part(0), 1)
    foreground, background = seeds_of(saliency, 0.95, 0.3)
    picture = np.rint(pixels[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    first, *_, last = GrabCut(picture.astype(np.float64), foreground, background, steps=5, fixed=fixed)
    trimap = np.where(first.labels, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    if fixed:
        trimap[foreground], trimap[background] = cv2.GC_FGD, cv2.GC_BGD
    theirs = _opencv(picture, trimap)
    union = (theirs | last.labels).sum()
    assert union > 0.01 * theirs.size
    assert (theirs & last.labels).sum() / union >= 0.95


def _opencv(picture: np.ndarray[Any, Any], trimap: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    models = np.zeros((2, 1, 65))
    cv2.setRNGSeed(0)
    mask, *_ = cv2.grabCut(picture, trimap, None, models[0], models[1], 5, cv2.GC_INIT_WITH_MASK)
    return np.asarray((mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD))
