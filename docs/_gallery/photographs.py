"""The pictures that the gallery begins with: photographs of scikit-image and scikit-learn, and the style we ship."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
from PIL import Image

__all__ = ["photograph"]

_MAX_EDGE = 640
_CUT_OUT = {  # of which picture, and where in it: left, top, right, bottom
    "petals": ("flower", (238, 140, 398, 300)),
    "cells": ("immunohistochemistry", (0, 0, 290, 250)),
    "writing": ("page", (0, 44, 384, 150)),
}


def photograph(name: str) -> Image.Image:
    """The sample picture of that name, or a piece of one, RGB, with its longest edge at 640 pixels at most.

    Raises:
        AttributeError: neither scikit-image nor scikit-learn has it.
    """
    if name in _CUT_OUT:
        whole, box = _CUT_OUT[name]
        return photograph(whole).crop(box)
    picture = Image.fromarray(_pixels(name)).convert("RGB")
    picture.thumbnail((_MAX_EDGE, _MAX_EDGE), Image.Resampling.LANCZOS)
    return picture


def _pixels(name: str):  # type: ignore[no-untyped-def]  # noqa: ANN202 - the libraries ship no types
    if name in {"china", "flower"}:
        from sklearn.datasets import load_sample_image

        return load_sample_image(f"{name}.jpg")
    if name == "strokes":
        with (files("convscope_techniques.shipped") / name / "style.jpg").open("rb") as file:
            return np.asarray(Image.open(file))
    import skimage.data

    if name == "motorcycle":
        return skimage.data.stereo_motorcycle()[0]
    return getattr(skimage.data, name)()
