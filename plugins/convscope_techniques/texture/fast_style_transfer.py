"""A picture painted by a network that was taught one style (Johnson et al. 2016)."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from convscope_sdk.events import Event, Image, Note, Preview, Progress, Scores, Tensor
from convscope_sdk.params import Fit, ImageParams
from convscope_sdk.run import Run
from convscope_sdk.technique import technique
from convscope_techniques.synthesis.made import picture_scores
from convscope_techniques.texture.colours import edge_agreement, luma, recoloured
from convscope_techniques.texture.painter import Painter

__all__ = ["FastStyleTransferParams", "fast_style_transfer"]


class FastStyleTransferParams(ImageParams):
    """Parameters of `fast_style_transfer`."""

    fit: Fit = Field("keep", description="How the picture becomes the input; `keep` its proportions by default.")
    keep_colours: bool = Field(False, description="Take the brightness of the painting and the picture's colours.")
    tile: int = Field(
        1024,
        ge=256,
        le=4096,
        multiple_of=4,
        description="Pictures with a longer edge are painted in tiles of it, without seams: memory is that of a tile.",
    )


@technique(
    "fast_style_transfer",
    needs={"image", "stylizer"},
    cites="Johnson et al. 2016, ECCV, arXiv:1603.08155",
)
def fast_style_transfer(run: Run[FastStyleTransferParams]) -> Iterator[Event]:
    """The picture in the style that a network was taught, by one forward pass.

    The run's model is a stylizer: `strokes` is built in, `fast_style_training` makes others, and checkpoints of
    PyTorch's example fast_neural_style are models with architecture "convscope:style_net". Image and tensor
    `stylized`, (3, H, W), of the input's size. Large pictures are painted in tiles by the means and variances of the
    whole (Chen et al. 2022).
    """
    params, pixels, spec = run.params, run.image, run.network.spec
    mean, std = (pixels.new_tensor(values).view(1, 3, 1, 1) for values in (spec.mean, spec.std))
    painter = Painter(run.network.module, mean=mean, std=std, tile=params.tile)
    total = painter.tiles(pixels)
    if total > 1:
        yield Note(f"painted in {total} tiles of up to {params.tile} pixels")
    painted = pixels
    for step, painted in enumerate(painter.steps(pixels), start=1):
        yield Progress(step, total)
        if step < total:
            yield Preview(painted)
    if params.keep_colours:
        painted = recoloured(luma(painted), pixels)
    yield Image("stylized", painted, f"the picture in the style of {run.network.name}")
    yield Tensor("stylized", painted[0], "pixels, 1 is white")
    yield picture_scores(painted, pixels)
    yield Scores({"edge_agreement": edge_agreement(luma(painted), luma(pixels))})
