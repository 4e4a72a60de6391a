"""The photographs of the gallery: what scikit-image and scikit-learn bring along."""

from __future__ import annotations

from PIL import Image

__all__ = ["photograph"]

_MAX_EDGE = 640


def photograph(name: str) -> Image.Image:
    """The sample picture of that name, RGB, with its longest edge at 640 pixels at most.

    Raises:
        AttributeError: neither scikit-image nor scikit-learn has it.
    """
    picture = Image.fromarray(_pixels(name)).convert("RGB")
    picture.thumbnail((_MAX_EDGE, _MAX_EDGE), Image.Resampling.LANCZOS)
    return picture


def _pixels(name: str):  # type: ignore[no-untyped-def]  # noqa: ANN202 - the libraries ship no types
    if name in {"china", "flower"}:
        from sklearn.datasets import load_sample_image

        return load_sample_image(f"{name}.jpg")
    import skimage.data

    if name == "motorcycle":
        return skimage.data.stereo_motorcycle()[0]
    return getattr(skimage.data, name)()
