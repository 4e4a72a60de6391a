"""Trains a network that turns the output of any layer back into pictures (Dosovitskiy & Brox 2016)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor as Array

from convscope_sdk.errors import FieldViolation, InvalidImageSet, InvalidParams, NotApplicable
from convscope_sdk.events import Event, ImageGrid, Note, Preview, Progress, Scores, Table, TrainedModel
from convscope_sdk.models import CodeFacts
from convscope_sdk.network import Network
from convscope_sdk.run import Run
from convscope_sdk.target import LayerRef
from convscope_sdk.technique import technique
from convscope_sdk.training import TrainingParams, TrainingState
from convscope_techniques.generators.inversion_loss import InversionLoss, fitted
from convscope_techniques.generators.inversion_network import InversionNetwork
from convscope_techniques.generators.moments import Moments
from convscope_techniques.layout import has_maps
from convscope_techniques.texture.depths import widest_layers
from convscope_techniques.training.crops import Crops
from convscope_techniques.training.losses import Losses

__all__ = ["InversionNetworkTrainingParams", "inversion_network_training"]

_COARSE = 16
_BETAS = (0.9, 0.999)
_ROUND = 16
_ENLARGED = 4 / 3
_PIXELS = ""
_SHOWN = 8
_HELD_OUT = 8
_OLDEST = 1000
_VECTOR, _MAPS = 1, 3


class InversionNetworkTrainingParams(TrainingParams):
    """Parameters of `inversion_network_training`."""

    image_set: str = Field("samples", description="Image set that the pictures come from.")
    layer: LayerRef | None = Field(
        None, description="Layer to invert; where absent the widest at a sixteenth of the input's resolution."
    )
    comparators: tuple[LayerRef, ...] = Field(
        (), max_length=8, description="Layers whose features are compared; the inverted one where absent."
    )
    image_weight: float = Field(1.0, ge=0, le=1e6, description="Weight of the pixels' error, a part of their variance.")
    feature_weight: float = Field(
        0.5, ge=0, le=1e6, description="Weight of the features' error, a part of their variance; 0 gives smooth mud."
    )
    widths: tuple[int, ...] = Field(
        (160, 128, 96, 48, 24, 16, 16, 16),
        min_length=1,
        max_length=8,
        description="Channels of the generator at the code's resolution and after each doubling, as many as it needs.",
    )
    size: int | None = Field(
        None, ge=16, le=1024, description="Edge of the crops in pixels; the network's own input size where absent."
    )
    smallest_crop: float = Field(
        0.25, gt=0, le=1, description="Least edge of a crop, as part of its picture's shorter edge."
    )
    colour: float = Field(0.2, ge=0, le=1, description="How much crops are recoloured: deviation of the log of gamma.")
    steps: int = Field(2000, ge=1, le=1_000_000, description="Steps of Adam, from the training's beginning.")
    batch: int = Field(8, ge=1, le=256, description="Crops in a step.")
    step_size: float = Field(1e-3, gt=0, le=1, description="Adam's step size to begin with.")
    halve_every: int = Field(0, ge=0, le=1_000_000, description="Halve the step size every so many steps; 0 for never.")
    measured: int = Field(
        256, ge=16, le=65_536, description="Crops by which the spread of units, features and pixels is measured."
    )
    preview_every: int = Field(20, ge=1, le=100_000, description="Show reconstructions every so many steps.")

    @model_validator(mode="after")
    def _something_to_learn(self) -> Self:
        if not (self.image_weight or self.feature_weight):
            raise ValueError("image_weight and feature_weight are both 0: there is nothing to learn; give one of them")
        return self


@technique(
    "inversion_network_training",
    needs={"gradients", "image_set"},
    cites="Dosovitskiy & Brox 2016, arXiv:1506.02753, arXiv:1602.02644",
    cacheable=False,  # leaves a model
    resumable=True,
    steers={"steps", "step_size", "halve_every", "checkpoint_every", "preview_every"},
)
def inversion_network_training(run: Run[InversionNetworkTrainingParams]) -> Iterator[Event]:
    """Trains a generator: an up-convolutional network that turns a layer's output back into the picture.

    Minimises image_weight · ‖G(φ(x)) - x‖² / Var(x) + feature_weight · ‖ψ(G(φ(x))) - ψ(x)‖² / Var(ψ(x)) over crops x of
    an image set; φ is the layer, ψ the comparators. There is no discriminator, so what the code does not tell is
    blurred. An eighth of the pictures, at least one, is held out: previews, `reconstructions` (the crop above what was
    made of it) and the scores are of those. Leaves a model of kind generator, for `latent_visualization`, with the
    layer's standard deviations, which bound its codes. Begun anew from a checkpoint it goes on to the same bits.
    """
    lesson = _Lesson(run)
    params = run.params
    yield Note(f"inverts {lesson.layer} with {lesson.parameters_count:,} parameters, from {len(lesson.crops.numbers)} "
               f"pictures of {params.image_set}; {len(lesson.held_out.numbers)} are held out")  # fmt: skip
    training, pictures = lesson.training, lesson.pictures
    pictures.check_is(run.state("image set", digest=pictures.digest).digest)
    with run.state("training", training=training, losses=Losses(), before=lesson.errors(), kept=training.step) as state:
        while training.step < params.steps:
            losses = lesson.step()
            state.losses.rows.append({"step": training.step, **losses})
            yield Progress(training.step, params.steps, losses)
            if training.step % params.preview_every == 0 or training.step == params.steps:
                yield Preview(lesson.sheet(), caption="held-out crops, and what is made of their codes")
            if training.step % params.checkpoint_every == 0:
                state.kept = training.step
                yield training.checkpoint(params.name)
            yield state
    if state.kept != training.step:
        yield training.checkpoint(params.name)
    yield from _results(lesson, state.losses.rows, state.before)


def _results(lesson: _Lesson, losses: list[dict[str, float]], before: dict[str, float]) -> Iterator[Event]:
    after = lesson.errors()
    yield ImageGrid(
        "reconstructions", lesson.tiles(), columns=_SHOWN, caption="held-out crops, and what is made of them"
    )
    yield Table("losses", losses[:: max(1, len(losses) // _OLDEST)], caption="of the crops of each step")
    yield Scores({f"{name}_error_before": value for name, value in before.items()})
    yield Scores({f"{name}_error_after": value for name, value in after.items()})
    yield lesson.trained_model(after)


class _Lesson:
    """What one run trains, on what, and how far it is."""

    def __init__(self, run: Run[InversionNetworkTrainingParams]) -> None:
        params, network = run.params, run.network
        self._run = run
        self.layer = _layer(network, params.layer)
        compared = [network.layer(name).name for name in params.comparators] or [self.layer]
        self._asked = list(dict.fromkeys([self.layer, *(compared if params.feature_weight else [])]))
        self._size = params.size or network.input_size
        self.pictures = run.image_set(params.image_set)
        self.crops, self.held_out = self._divided()
        moments, self.code_shape = self._measure(compared)
        doublings = InversionNetwork.doublings(self.code_shape, self._size)
        self.widths = _widths(params.widths, doublings)
        self.module = InversionNetwork(self.code_shape, self.widths).to(network.device)
        self._rectified = moments[self.layer].least >= 0
        self.module.sigma.copy_(moments[self.layer].sigma.view_as(self.module.sigma))
        variances = {name: moments[name].variance for name in compared}
        pixel_variance = moments[_PIXELS].variance
        self._loss = InversionLoss(network, variances, pixel_variance, params.image_weight, params.feature_weight)
        self._optimizer = torch.optim.Adam(self.module.parameters(), lr=params.step_size, betas=_BETAS)
        self.training = TrainingState(self.module, self._optimizer, run.rng, self._settings())
        if run.checkpoint is not None:
            self.training.resume(run.checkpoint)
        self._seen = self._held_out_batch()

    @property
    def parameters_count(self) -> int:
        return sum(parameter.numel() for parameter in self.module.parameters())

    def step(self) -> dict[str, float]:
        """Losses of one step of Adam, before it."""
        params, done = self._run.params, self.training.step
        if params.halve_every:
            for group in self._optimizer.param_groups:
                group["lr"] = params.step_size * 0.5 ** (done // params.halve_every)
        pixels = self.crops.batch(params.batch, self._run.rng).to(self._run.network.device)
        with torch.no_grad():
            features = self._features(pixels)
        terms = self._loss(self.module(features[self.layer]), pixels, features)
        total = torch.stack(list(terms.values())).sum()
        self._optimizer.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]  # torch's
        self._optimizer.step()
        self.training.step = done + 1
        values = torch.stack([*(term.detach() for term in terms.values()), total.detach()]).tolist()
        return dict(zip((*terms, "loss"), values, strict=True))

    @torch.no_grad()
    def errors(self) -> dict[str, float]:
        """The losses' terms on held-out crops."""
        pixels, features = self._seen
        return {name: float(term) for name, term in self._loss(self._made(), pixels, features).items()}

    def tiles(self) -> list[Array]:
        """Held-out crops, then what is made of their codes."""
        made = self._made()
        return [*fitted(self._seen[0], made.shape[-1]).clamp(0, 1), *made]

    def sheet(self) -> Array:
        tiles = self.tiles()
        rows = [torch.cat(tiles[first : first + _SHOWN], dim=-1) for first in range(0, len(tiles), _SHOWN)]
        return torch.cat(rows, dim=-2)[None]

    def trained_model(self, errors: Mapping[str, float]) -> TrainedModel:
        run, network = self._run, self._run.network
        return TrainedModel(
            run.params.name,
            self.module.state_dict(),
            "convscope:inversion_network",
            {"code_shape": self.code_shape, "widths": self.widths},
            kind="generator",
            input_size=self._size,
            code_shape=self.code_shape,
            codes=CodeFacts(network.name, self.layer, "sigma", self._rectified),
            description=f"Pictures from {self.layer} of {network.name}, trained on {run.params.image_set}",
            facts={
                "of_digest": network.digest,
                "image_set": run.params.image_set,
                "steps": float(self.training.step),
                **{f"held_out_{name}_error": value for name, value in errors.items()},
            },
        )

    # How

    def _divided(self) -> tuple[Crops, Crops]:
        params = self._run.params
        image_set = self.pictures
        if len(image_set) < 2:  # noqa: PLR2004 - one to learn from, one to look at
            raise InvalidImageSet(
                f"image set {params.image_set!r} has {len(image_set)} pictures; give two or more: some are held out",
                reason="IMAGE_SET_TOO_SMALL",
            )
        numbers = np.random.default_rng(0).permutation(len(image_set)).tolist()
        count = max(1, len(numbers) // _HELD_OUT)
        learnt, held = sorted(numbers[count:]), sorted(numbers[:count])
        taken = {"smallest": params.smallest_crop, "enlarged": _ENLARGED}
        crops = Crops(image_set, learnt, self._size, colour=params.colour, **taken)
        return crops, Crops(image_set, held, self._size, **taken)

    @torch.no_grad()
    def _measure(self, compared: list[str]) -> tuple[dict[str, Moments], tuple[int, ...]]:
        """Of pixels and layers over many crops, the same ones for a seed whatever was drawn before; a code's shape."""
        rng, network = np.random.default_rng([self._run.seed, 1]), self._run.network
        moments = {name: Moments() for name in (_PIXELS, self.layer, *compared)}
        shape: tuple[int, ...] = ()
        for _ in range(0, self._run.params.measured, _ROUND):
            pixels = self.crops.batch(_ROUND, rng).to(network.device)
            found = network.activations(pixels, self.layer, *compared)
            shape = tuple(found[self.layer].shape[1:])
            for name, values in {_PIXELS: pixels, **found}.items():
                moments[name].add(values)
        return moments, shape

    def _features(self, pixels: Array) -> dict[str, Array]:
        return self._run.network.activations(pixels, *self._asked)

    @torch.no_grad()
    def _held_out_batch(self) -> tuple[Array, dict[str, Array]]:
        pixels = self.held_out.batch(_SHOWN, np.random.default_rng([self._run.seed, 2])).to(self._run.network.device)
        return pixels, self._features(pixels)

    @torch.no_grad()
    def _made(self) -> Array:
        made: Array = self.module(self._seen[1][self.layer])
        return made

    def _settings(self) -> dict[str, Any]:
        run = self._run
        free = {"name", "overwrite", "resume", "checkpoint_every", "preview_every", "steps"}
        return {
            **run.params.model_dump(mode="json", exclude=free),
            "seed": run.seed,
            "layer": self.layer,
            "network": run.network.digest,
            "pictures": self.pictures.digest,
        }


def _layer(network: Network, asked: str | None) -> str:
    """Name of the layer to invert.

    Raises:
        NotApplicable: its output is tokens.
    """
    if asked is None:
        wanted = network.input_size / _COARSE
        return min(widest_layers(network), key=lambda name: abs(network.layer(name).output_shape[-1] - wanted))
    info = network.layer(asked)
    shape = info.output_shape
    if len(shape) != _VECTOR and not (len(shape) == _MAPS and (has_maps(info) or shape[1:] == (1, 1))):
        raise NotApplicable(
            f"the output of {info.name}, {shape}, is neither maps (C, H, W) nor a vector (C,), of which pictures are "
            "made; take a convolution or a pooled layer"
        )
    return info.name


def _widths(widths: tuple[int, ...], doublings: int) -> tuple[int, ...]:
    if len(widths) <= doublings:
        text = (
            f"{len(widths)} widths for a code that doubles {doublings} times; give {doublings + 1}, or a smaller size"
        )
        raise InvalidParams(text, violations=[FieldViolation("params.widths", text)])
    return widths[: doublings + 1]
