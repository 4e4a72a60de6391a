"""Parameters of `fast_style_training`, and the papers' values of them."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from convscope_sdk.training import TrainingParams
from convscope_techniques.texture.style_loss_params import StyleLossParams

__all__ = ["FastStyleTrainingParams"]

_JOHNSON_2016 = {
    "content_layers": ("relu3_3",),
    "style_layers": ("relu1_2", "relu2_2", "relu3_3", "relu4_3"),
    "layer_weights": (1.0,) * 4,
    "content_weight": 1.0,
    "style_weight": 5.0,
    "tv_weight": 1e-6,
    "convention": "mse",
    "caffe_scale": True,
    "pooling": "max",
    "width": 32,
    "blocks": 5,
    "size": 256,
    "batch": 4,
    "steps": 40_000,
    "jitter": 0,
    "learning_rate": 1e-3,
}
# Its features are of pixels divided by ImageNet's standard deviations, and its losses means, as "mse" reads them.
_PYTORCH_EXAMPLES = {
    **_JOHNSON_2016,
    "content_layers": ("relu2_2",),
    "content_weight": 1e5,
    "style_weight": 1e10,
    "tv_weight": 0.0,
    "caffe_scale": False,
}


class FastStyleTrainingParams(StyleLossParams, TrainingParams):
    """Parameters of `fast_style_training`."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "johnson-2016": _JOHNSON_2016,
        "pytorch-examples": _PYTORCH_EXAMPLES,
    }

    preset: str | None = Field(None, description="Named values: `johnson-2016` and `pytorch-examples`, for VGG-16.")
    image_set: str = Field("samples", max_length=200, description="Image set whose pictures are painted to learn.")
    held_out: tuple[str, ...] = Field(
        (),
        max_length=64,
        description="Labels, or beginnings of names, of pictures that are never learned from; the first is what "
        "previews show. Where none fits the set's last picture is held out.",
    )
    steps: int = Field(2000, ge=1, le=10_000_000, description="Batches to learn from, those before a resume included.")
    batch: int = Field(4, ge=1, le=64, description="Pictures in a step.")
    size: int = Field(128, ge=32, le=1024, description="Edge of the crops of pictures to learn from, pixels.")
    style_size: int = Field(
        256, ge=32, le=2048, description="Edge that the style's shorter one is brought to: the size of strokes, pixels."
    )
    width: int = Field(32, ge=4, le=128, description="Channels of the first convolution; later ones have up to 4x.")
    blocks: int = Field(5, ge=0, le=16, description="Residual blocks.")
    upsampling: Literal["nearest", "bilinear"] = Field(
        "nearest", description="How maps are enlarged before convolutions; `bilinear` leaves less grain."
    )
    jitter: int = Field(
        16,
        ge=0,
        le=512,
        description="Losses see the paintings rolled by up to so many pixels: without it, networks with strided "
        "convolutions leave a fine grain.",
    )
    learning_rate: float = Field(1e-3, gt=0, le=1, description="Step size of Adam.")
    half: bool = Field(False, description="Keep the model's weights in 16 bits: half the size, the same pictures.")
    preview_every: int = Field(25, ge=1, le=100_000, description="Show the held-out picture every so many steps.")
