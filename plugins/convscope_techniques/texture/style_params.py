"""Parameters of `style_transfer`, and the papers' values of them."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from convscope_sdk.params import Fit, ImageParams
from convscope_techniques.texture.optimised import OptimisedParams
from convscope_techniques.texture.style_loss_params import StyleLossParams

__all__ = ["StyleTransferParams"]

_FIVE = tuple(f"relu{block}_1" for block in range(1, 6))
_GATYS_2016 = {
    "content_layers": ("relu4_2",),
    "style_layers": _FIVE,
    "content_weight": 1e-3,
    "style_weight": 1.0,
    "tv_weight": 0.0,
    "convention": "gatys",
    "caffe_scale": True,
    "start": "noise",
    "optimizer": "lbfgs",
    "steps": 500,
}
_NEURAL_STYLE_PT = {
    "content_layers": ("relu4_2",),
    "style_layers": _FIVE,
    "layer_weights": (1.0,) * 5,
    "content_weight": 5.0,
    "style_weight": 100.0,
    "tv_weight": 1e-3,
    "convention": "mse",
    "caffe_scale": True,
    "pooling": "max",
    "start": "noise",
    "optimizer": "lbfgs",
    "steps": 1000,
    "history": 100,
    "size": 512,
}
# The assignment works on pixels divided by ImageNet's standard deviation, 0.226 on average: its step sizes, 3 and
# 0.1, are 173 and 5.76 of 255 here, and its total variation, 5e-2, is 5e-2 / 0.226².
_CS231N = {
    "content_layers": ("features.3",),
    "style_layers": ("features.1", "features.4", "features.6", "features.7"),
    "layer_weights": (20000.0, 500.0, 12.0, 1.0),
    "content_weight": 5e-2,
    "style_weight": 1.0,
    "tv_weight": 0.979,
    "convention": "sum",
    "pooling": "max",
    "start": "content",
    "optimizer": "adam",
    "jitter": 0,
    "step_size": 172.9,
    "final_step_size": 5.76,
    "steps": 200,
    "size": 192,
}


class StyleTransferParams(StyleLossParams, ImageParams, OptimisedParams):
    """Parameters of `style_transfer`."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "gatys-2016": _GATYS_2016,
        "neural-style-pt": _NEURAL_STYLE_PT,
        "cs231n": _CS231N,
    }

    preset: str | None = Field(
        None,
        description=(
            "Named values: `gatys-2016` and `neural-style-pt` for VGG, `cs231n` for torchvision's squeezenet1_1."
        ),
    )
    fit: Fit = Field("keep", description="How the picture becomes the input; `keep` its proportions by default.")
    style_shares: tuple[float, ...] | None = Field(
        None, min_length=1, max_length=4, description="Share of each style in the blend; equal where absent."
    )
    style_scale: float = Field(
        1.0, gt=0, le=4, description="Longer edge of the styles, as a multiple of the picture's: the size of strokes."
    )
    keep_colours: bool = Field(
        False, description="Transfer brightness alone, with the styles' contrast brought to the picture's."
    )
    start: Literal["content", "noise"] = Field("content", description="What is changed: the picture, or white noise.")
    octaves: int = Field(
        1,
        ge=1,
        le=8,
        description="Sizes to work at, from small to the picture's own, each with half the steps of the one before: "
        "for strokes that are large in a large picture.",
    )
    octave_scale: float = Field(2.0, gt=1, le=4, description="Ratio of the edges of one octave to the next.")
