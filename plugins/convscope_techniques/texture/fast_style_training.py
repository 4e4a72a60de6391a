"""Teaches a network to paint in one style with one forward pass (Johnson et al. 2016)."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from convscope_sdk.errors import InvalidImage, TechniqueError
from convscope_sdk.events import Event, Image, Note, Preview, Progress, Scores, Table, TrainedModel
from convscope_sdk.images import to_tensor
from convscope_sdk.run import Run
from convscope_sdk.technique import technique
from convscope_sdk.training import TrainingState
from convscope_techniques.synthesis.octaves import resized
from convscope_techniques.texture.fast_style_params import FastStyleTrainingParams
from convscope_techniques.texture.painter import Painter
from convscope_techniques.texture.perceptual_loss import PerceptualLoss
from convscope_techniques.texture.style_net import ID, StyleNet
from convscope_techniques.training.crops import Crops
from convscope_techniques.training.held_out import divided
from convscope_techniques.training.losses import Losses

__all__ = ["fast_style_training"]

_MEAN, _STD = 0.5, 0.25
"""What the new network's pixels are normalised with: outputs near zero are near grey."""

_EDGES = (2, 3)
_MEMORY = 0.98  # of the running means of losses
_SMALLEST = 16  # of the style's edges, in pixels
_REDUCED = 3.0  # most pixels of a picture for one pixel of a crop, in each direction
_ROWS = 200  # of the table of losses
# What may differ between a run and the one that goes on with it.
_FREE = {"name", "resume", "overwrite", "steps", "checkpoint_every", "preview_every", "half", "preset"}


@technique(
    "fast_style_training",
    needs={"gradients", "spatial_layer", "image_set"},
    cites="Johnson et al. 2016, ECCV, arXiv:1603.08155",
    extra_images={"style": "The picture whose style is learned."},
    stall_seconds=600,
    cacheable=False,  # leaves a model
    resumable=True,
    steers={"steps", "learning_rate", "content_weight", "style_weight", "checkpoint_every", "preview_every"},
)
def fast_style_training(run: Run[FastStyleTrainingParams]) -> Iterator[Event]:
    """A new model that paints any picture in the style of one, for `fast_style_transfer`.

    Minimises over the weights of a StyleNet, for crops x of pictures and its paintings y, content_weight·Σ
    mean((F(y) - F(x))²) + style_weight·Σ w·mean((G(y) - G₀)²) + tv_weight·TV(y), features F and Gram matrices G of
    the network that the run looks into; weights are read as in `style_transfer`. Image `stylized` is the held-out
    picture, table `losses` how the terms fell. Thousands of steps make a style; checkpoints are kept on the way.
    """
    params, style = run.params, _style(run)
    pictures = run.image_set(params.image_set)
    learnt, held_out = divided(pictures, params.held_out)
    crops = Crops(pictures, learnt, params.size, reduced=_REDUCED)
    yield Note(f"{len(learnt)} pictures of image set {params.image_set!r} to learn from")
    yield Note(f"content {params.content_names(run.network)}, style {params.style_names(run.network)}")
    loss = PerceptualLoss(run.network, params, style)
    training = _training(run, style)
    if run.checkpoint is not None:
        training.resume(run.checkpoint)
        yield Note(f"goes on from step {training.step} of {run.checkpoint.name!r}")
    shown = _shown(run, Crops(pictures, [*held_out, *learnt], params.size))
    with run.state("training", training=training, losses=Losses(), means={}, kept=training.step) as state:
        while training.step < params.steps:
            terms = _step(training, loss, crops.batch(params.batch, run.rng).to(run.device), params.jitter)
            state.means = {t: _MEMORY * state.means.get(t, value) + (1 - _MEMORY) * value for t, value in terms.items()}
            yield Progress(training.step, params.steps, terms)
            if training.step % max(params.steps // _ROWS, 1) == 0 or training.step == params.steps:
                state.losses.rows.append({"step": training.step, **state.means})
            if training.step % params.preview_every == 0:
                yield Preview(_painted(training.module, shown), f"step {training.step}")
            if training.step % params.checkpoint_every == 0:
                state.kept = training.step
                yield training.checkpoint(params.name)
            yield state
    if state.kept != training.step:
        yield training.checkpoint(params.name)
    yield from _results(training, loss, shown, state.losses.rows)
    yield _model(run, training, state.means)


def _step(training: TrainingState, loss: PerceptualLoss, contents: Tensor, jitter: int) -> dict[str, float]:
    """One step of Adam; the terms before it."""
    painted = training.module((contents - _MEAN) / _STD) * _STD + _MEAN
    dy, dx = (int(offset) for offset in training.rng.integers(0, jitter + 1, 2))
    terms = loss(painted.roll((dy, dx), _EDGES), contents.roll((dy, dx), _EDGES))
    total = torch.stack(list(terms.values())).sum()
    training.optimizer.zero_grad(set_to_none=True)
    total.backward()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
    values = {term: float(value.detach()) for term, value in terms.items()}
    if not all(map(math.isfinite, values.values())):
        raise TechniqueError(
            f"the losses are no numbers any more after step {training.step}: begin anew with a smaller learning_rate, "
            f"or go on from the last checkpoint",
            reason="TRAINING_DIVERGED",
        )
    training.optimizer.step()
    training.step += 1
    return values


def _training(run: Run[FastStyleTrainingParams], style: Tensor) -> TrainingState:
    params = run.params
    module = StyleNet(params.width, params.blocks, params.upsampling).to(run.device)
    settings: dict[str, Any] = params.model_dump(mode="json", exclude=_FREE)
    settings |= {
        "technique": "fast_style_training",
        "network": run.network.digest,
        "style": hashlib.sha256(style.cpu().numpy().tobytes()).hexdigest(),
    }
    return TrainingState(module, torch.optim.Adam(module.parameters(), params.learning_rate), run.rng, settings)


def _style(run: Run[FastStyleTrainingParams]) -> Tensor:
    """The style at the size in which it is to be seen."""
    if "style" not in run.images:
        raise InvalidImage(
            "fast_style_training learns the style of a picture: give it an extra image `style`", reason="IMAGE_MISSING"
        )
    style = run.images["style"]
    scale = run.params.style_size / min(style.shape[-2:])
    height, width = (max(round(edge * scale), _SMALLEST) for edge in style.shape[-2:])
    return resized(style, (height, width)).clamp(0, 1)


def _shown(run: Run[FastStyleTrainingParams], pictures: Crops) -> Tensor:
    """The picture that previews paint: the run's own, or the one held out."""
    if len(run.image):
        return run.image
    return to_tensor(pictures.first(), run.device)


def _painted(module: torch.nn.Module, pixels: Tensor) -> Tensor:
    return Painter(module, mean=_MEAN, std=_STD).paint(pixels)


def _results(
    training: TrainingState,
    loss: PerceptualLoss,
    shown: Tensor,
    rows: list[dict[str, float]],
) -> Iterator[Event]:
    painted = _painted(training.module, shown)
    yield Image("stylized", painted, "the picture held out, in the style that was learned")
    yield Image("content", shown, "the same as it is")
    yield Table("losses", rows, "weighted terms, running means")
    with torch.no_grad():
        before, after = loss(shown, shown), loss(painted, shown)
    scores = {f"held_out_{term}_loss": float(value) for term, value in after.items()}
    scores |= {"held_out_style_loss_before": float(before["style"]), "steps": float(training.step)}
    yield Scores(scores)


def _model(run: Run[FastStyleTrainingParams], training: TrainingState, means: dict[str, float]) -> TrainedModel:
    params = run.params
    weights = training.module.state_dict()
    return TrainedModel(
        params.name,
        {key: value.half() for key, value in weights.items()} if params.half else weights,
        ID,
        {"width": params.width, "blocks": params.blocks, "upsampling": params.upsampling},
        kind="stylizer",
        input_size=512,
        mean=(_MEAN,) * 3,
        std=(_STD,) * 3,
        description=f"paints in the style that {params.name} was taught, {training.step} steps with {run.network.name}",
        facts={"steps": training.step, **{f"{term}_loss": round(value, 6) for term, value in means.items()}},
    )
