"""A picture painted in the style of others (Gatys et al. 2016)."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator

import torch

from convscope_sdk.errors import FieldViolation, InvalidImage, InvalidParams
from convscope_sdk.events import Event, Image, Note, Predictions, Scores, Table, Tensor
from convscope_sdk.run import Run
from convscope_sdk.technique import technique
from convscope_techniques.synthesis.descent import Descent, Outcome
from convscope_techniques.synthesis.made import picture_scores
from convscope_techniques.synthesis.octaves import octave_sizes, resized
from convscope_techniques.synthesis.parameterization import PIXELS
from convscope_techniques.texture.colours import Grey, edge_agreement, luma, recoloured, with_contrast_of
from convscope_techniques.texture.jitter import Jitter
from convscope_techniques.texture.style_loss import StyleLoss
from convscope_techniques.texture.style_params import StyleTransferParams

__all__ = ["STYLES", "style_transfer"]

STYLES = ("style", "style2", "style3", "style4")
"""Roles of the pictures whose styles are blended."""

_WEIGHTS = {"content_weight", "style_weight", "tv_weight", "layer_weights", "style_shares"}
_SMALLEST = 16  # of a style's edge, in pixels


@technique(
    "style_transfer",
    needs={"image", "gradients", "spatial_layer"},
    cites="Gatys et al. 2016, CVPR, arXiv:1508.06576",
    extra_images={
        "style": "The picture whose style is taken.",
        **dict.fromkeys(STYLES[1:], "One more, to be blended with the others by `style_shares`."),
    },
    resumable=True,
    steers={*_WEIGHTS, "steps", "step_size", "final_step_size", "preview_every"},
)
def style_transfer(run: Run[StyleTransferParams]) -> Iterator[Event]:
    """The picture's content in the style of others: features of the one, Gram matrices of the others.

    Minimises content_weight·Σ w·mean((F - F₀)²) + style_weight·Σ w·mean((G - G₀)²) + tv_weight·TV over the pixels,
    G = F·Fᵀ / (N·M); `convention` says how other papers' weights are read. Several styles are blended by their Gram
    matrices. Image and tensor `stylized`, (3, H, W), of the input's size; table `losses`, which begins where weights
    were changed last. From noise a picture takes hundreds of steps; networks other than VGG give weaker brush strokes.
    """
    styles, shares = _styles(run)
    yield Note(f"content {run.params.content_names(run.network)}, style {run.params.style_names(run.network)}")
    outcome, loss = yield from _painted(run, styles, shares)
    pixels = recoloured(luma(outcome.pixels), run.image) if run.params.keep_colours else outcome.pixels
    yield Image("stylized", pixels, caption="the picture in the style of the other")
    yield Tensor("stylized", pixels[0], caption="pixels, 1 is white")
    yield from _report(run, outcome, loss)
    yield picture_scores(pixels, run.image)
    if run.network.spec.kind == "classifier":
        with torch.no_grad():
            logits = run.network.logits(pixels)
        yield Predictions(run.network.predictions(logits))


def _painted(
    run: Run[StyleTransferParams], styles: list[torch.Tensor], shares: list[float]
) -> Generator[Event, None, tuple[Outcome, StyleLoss]]:
    """From the smallest size to the picture's own; each begins with what the one before arrived at."""
    params = run.params
    height, width = run.image.shape[-2:]
    sizes = octave_sizes(height, width, params.octaves, params.octave_scale)
    steps = [max(params.steps >> octave, 1) for octave in range(len(sizes))]
    painted: tuple[Outcome, StyleLoss] | None = None
    with run.state("octaves", code=_start(run), octave=0, done=0) as state:
        while state.octave < len(sizes):
            size, count = sizes[state.octave], steps[state.octave]
            content, jitter = resized(run.image, size).clamp(0, 1), Jitter(params.reach, run.rng)
            loss = _loss(run, content, styles, shares, jitter)
            begin, total = resized(state.code, size).clamp(0, 1), state.done + sum(steps[state.octave :])
            caption = f"{size[1]}x{size[0]}" if len(sizes) > 1 else ""
            with run.state("views", jitter=jitter):
                descent = _descent(params, loss, content, count)
                outcome = yield from descent.run(run, begin, done=state.done, total=total, caption=caption)
            state.code, state.octave, state.done = outcome.code, state.octave + 1, state.done + outcome.steps
            painted = outcome, loss
    assert painted is not None, "there is always the picture's own size"
    return painted


def _descent(params: StyleTransferParams, loss: StyleLoss, content: torch.Tensor, steps: int) -> Descent:
    return Descent(
        loss,
        params.update(steps),
        steps,
        parameterization=Grey() if params.keep_colours else PIXELS,
        preview_every=params.preview_every,
        shown=_shown(params, content),
        keep="last" if params.reach else "best",
        steered=params.model_dump(include=_WEIGHTS),
    )


def _loss(
    run: Run[StyleTransferParams],
    content: torch.Tensor,
    styles: list[torch.Tensor],
    shares: list[float],
    jitter: Jitter,
) -> StyleLoss:
    seen = luma(content).expand(-1, 3, -1, -1) if run.params.keep_colours else content
    scaled = [_scaled(run.params, style, content) for style in styles]
    return StyleLoss(run.network, run.params, seen, scaled, shares, jitter=jitter)


def _styles(run: Run[StyleTransferParams]) -> tuple[list[torch.Tensor], list[float]]:
    """The pictures whose styles are blended, and their shares, which sum to 1."""
    styles = [run.images[role] for role in STYLES if role in run.images]
    if not styles:
        raise InvalidImage(
            "style_transfer takes the style of another picture: give it an extra image `style`",
            reason="IMAGE_MISSING",
        )
    shares = run.params.style_shares or (1.0,) * len(styles)
    if len(shares) != len(styles) or min(shares) < 0 or not sum(shares):
        text = f"{list(shares)} for {len(styles)} styles: give each a share, not below zero and not all zero"
        raise InvalidParams(f"style_shares: {text}", violations=[FieldViolation("params.style_shares", text)])
    return styles, [share / sum(shares) for share in shares]


def _scaled(params: StyleTransferParams, style: torch.Tensor, content: torch.Tensor) -> torch.Tensor:
    """The style with its longer edge at `style_scale` times the content's, grey where colours are kept."""
    scale = params.style_scale * max(content.shape[-2:]) / max(style.shape[-2:])
    height, width = (max(round(edge * scale), _SMALLEST) for edge in style.shape[-2:])
    style = resized(style, (height, width)).clamp(0, 1)
    if params.keep_colours:
        return with_contrast_of(luma(style), luma(content)).expand(-1, 3, -1, -1)
    return style


def _start(run: Run[StyleTransferParams]) -> torch.Tensor:
    start = run.image if run.params.start == "content" else torch.rand_like(run.image)
    return luma(start) if run.params.keep_colours else start


def _shown(params: StyleTransferParams, content: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    return (lambda pixels: recoloured(luma(pixels), content)) if params.keep_colours else torch.detach


def _report(run: Run[StyleTransferParams], outcome: Outcome, loss: StyleLoss) -> Iterator[Event]:
    rows = [{"term": term, "before": outcome.before[term], "after": after} for term, after in outcome.after.items()]
    yield Table("losses", rows, caption="weighted terms at the largest size, where it began and where it ended")
    for kind in ("content", "style"):
        terms = [term for term in outcome.after if term.startswith(kind)]
        before, after = (sum(values[term] for term in terms) for values in (outcome.before, outcome.after))
        yield Scores({f"{kind}_loss_before": before, f"{kind}_loss_after": after})
    yield Scores({"edge_agreement": edge_agreement(luma(outcome.pixels), luma(run.image))})
    if run.params.pooling == "average":
        yield Note(f"{loss.extract.replaced} max poolings of the network took averages")
