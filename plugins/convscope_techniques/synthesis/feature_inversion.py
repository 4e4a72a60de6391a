"""What a layer still knows of a picture: another picture with the same features (Mahendran & Vedaldi 2015)."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any, ClassVar, Literal, NamedTuple, Self

import torch
from pydantic import Field, model_validator

from convscope_sdk.errors import NotApplicable
from convscope_sdk.events import Event, Image, ImageGrid, Note, Scores, Table, Tensor
from convscope_sdk.network import Network
from convscope_sdk.params import ImageParams
from convscope_sdk.run import Run
from convscope_sdk.state import State
from convscope_sdk.target import LayerRef
from convscope_sdk.technique import technique
from convscope_techniques.synthesis.centred import Centred
from convscope_techniques.synthesis.descent import Descent, Outcome
from convscope_techniques.synthesis.made import picture_scores
from convscope_techniques.synthesis.middle import middle_layer
from convscope_techniques.synthesis.penalty import alpha_norm, total_variation
from convscope_techniques.synthesis.update import Adam, CarefulMomentum, Update
from convscope_techniques.texture.depths import widest_layers
from convscope_techniques.texture.extractor import vgg_layers

__all__ = ["FeatureInversionParams", "feature_inversion", "variation_at"]

_INPUT = "input"
_PRIOR = {"variation", "beta", "alpha", "alpha_norm"}
_FAR = 0.5  # a normalised error beyond which a picture says nothing of its layer
_SHALLOW, _DEEP = 6 / 20, 12 / 20  # of CaffeNet's 20 layers
_MAHENDRAN: dict[str, Any] = {"update": "momentum", "step_size": 0.004, "steps": 400, "alpha": 6.0, "alpha_norm": 8e-10}


class FeatureInversionParams(ImageParams):
    """Parameters of `feature_inversion`; the defaults are those of the authors' code for CaffeNet."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {"mahendran-2015": _MAHENDRAN}

    preset: str = Field("mahendran-2015", description="Named values: `mahendran-2015`, those of the authors' code.")
    layer: LayerRef | None = Field(
        None, description="Layer whose features are to be met; a middle one where absent; `input` is the picture."
    )
    layers: tuple[LayerRef, ...] = Field(
        (), max_length=16, description="Several layers in place of `layer`: a row of pictures, one from each."
    )
    row: bool = Field(
        False,
        description="A row of pictures in place of `layer`: one from the layer with most maps at each resolution, "
        "relu1_2 to relu5_4 in VGG.",
    )
    steps: int = Field(400, ge=1, le=100_000, description="Steps for each layer.")
    step_size: float = Field(
        0.004,
        gt=0,
        le=1e6,
        description=(
            "Step size, in the authors' scale for `momentum`, in 1/255 for `adam` (16 is a good one); a tenth of it "
            "after a quarter of the steps, a hundredth after three. `momentum` goes back and cuts it to a quarter "
            "where it leads away."
        ),
    )
    update: Literal["momentum", "adam"] = Field("momentum", description="Rule of the steps.")
    variation: float | None = Field(
        None,
        ge=0,
        le=1e6,
        description=(
            "Weight of the total variation; where absent, the paper's by depth: 1 in the first 30 % of the layers, "
            "10 to 60 %, 100 beyond, and none for `input`."
        ),
    )
    beta: float = Field(2.0, ge=1, le=4, description="Power of the total variation.")
    alpha: float = Field(6.0, ge=1, le=12, description="Power of the norm that keeps values in range.")
    alpha_norm: float = Field(8e-10, ge=0, le=1, description="Weight of that norm; none for `input`.")
    preview_every: int = Field(20, ge=1, le=100_000, description="Show every so many steps.")

    @model_validator(mode="after")
    def _one_choice(self) -> Self:
        if sum((self.layer is not None, bool(self.layers), self.row)) > 1:
            raise ValueError("give one of layer, layers and row")
        return self


@technique(
    "feature_inversion",
    needs={"image", "gradients"},
    cites="Mahendran & Vedaldi 2015, arXiv:1412.0035",
    resumable=True,
    steers={*_PRIOR, "steps", "step_size", "preview_every"},
)
def feature_inversion(run: Run[FeatureInversionParams]) -> Iterator[Event]:
    """What a layer still knows of the picture: noise, changed until the layer's features are the picture's.

    Minimises ‖Φ(x) - Φ₀‖²/‖Φ₀‖² + (variation/2·TV^beta(x) + alpha_norm/2·‖x‖^alpha) / S²; x is the picture in 1/255
    less the mean colour, S the norm of a picture of usual contrast. Each layer gives image `inverted_LAYER` and
    tensor (3, H, W); several also a row, `inversions`. Report and table: the normalised error of each layer, 0 for the
    picture itself. What differs from the picture is what the layer does not care about, or what the prior filled in.
    """
    layers = _layers(run)
    with run.state("row", pictures=[], rows=[], done=0) as state:
        for layer in layers[len(state.rows) :]:
            yield from _inverted(run, layer, state, to_come=len(layers) - len(state.rows))
    pictures, rows = [run.image, *state.pictures], state.rows
    if len(layers) > 1:
        labels = ["picture", *(f"{row['layer']}: {row['normalised_error']:.2g}" for row in rows)]
        yield ImageGrid("inversions", pictures, labels=labels, columns=len(pictures), caption="normalised error")
    yield Table("errors", rows, caption="normalised error of the features; pixels against the picture's; terms")
    yield Scores({f"error_{row['layer']}": row["normalised_error"] for row in rows})
    if len(layers) == 1:
        yield picture_scores(pictures[-1], run.image)


def variation_at(network: Network, layer: str) -> float:
    """The paper's weight of the total variation, by how many of the network's layers come up to this one."""
    if layer == _INPUT:
        return 0.0
    depth = (1 + [info.name for info in network.layers].index(layer)) / len(network.layers)
    return 1.0 if depth <= _SHALLOW else 10.0 if depth <= _DEEP else 100.0


class _Inversion(NamedTuple):
    """One layer's objective: `features` of pixels are to be `wanted`, of squared norm `energy`."""

    layer: str
    features: Callable[[torch.Tensor], torch.Tensor]
    wanted: torch.Tensor
    energy: torch.Tensor
    variation: float

    def distance(self, pixels: torch.Tensor) -> torch.Tensor:
        return (self.features(pixels) - self.wanted).square().sum() / self.energy

    @torch.no_grad()
    def error(self, pixels: torch.Tensor) -> float:
        return float(self.distance(pixels))


def _layers(run: Run[FeatureInversionParams]) -> list[str]:
    params, network = run.params, run.network
    if params.row:
        return widest_layers(network)
    refs, vgg = params.layers or (params.layer or middle_layer(network),), vgg_layers(network.module)
    return list(dict.fromkeys(ref if ref == _INPUT else network.layer(vgg.get(ref, ref)).name for ref in refs))


def _inversion(run: Run[FeatureInversionParams], layer: str) -> _Inversion:
    canvas = Centred.of(run.network, "bytes")

    def features(pixels: torch.Tensor) -> torch.Tensor:
        return canvas.code(pixels) if layer == _INPUT else run.network.activations(pixels, layer)[layer]

    with torch.no_grad():
        wanted = features(run.image)
    energy = wanted.square().sum()
    if not 0 < float(energy) < float("inf"):
        raise NotApplicable(f"{layer!r} says nothing about this picture: its output is zero; take another layer")
    given = run.params.variation
    return _Inversion(layer, features, wanted, energy, variation_at(run.network, layer) if given is None else given)


def _inverted(run: Run[FeatureInversionParams], layer: str, state: State, *, to_come: int) -> Iterator[Event]:
    """One more picture for the row, the first of those `to_come`."""
    inversion = _inversion(run, layer)
    yield Note(f"{layer}: total variation weighs {inversion.variation:g}")
    outcome = yield from _descended(run, inversion, state.done, state.done + to_come * run.params.steps)
    pixels = outcome.pixels.clamp(0, 1)
    error = inversion.error(pixels)
    if error > _FAR:
        yield Note(f"{layer} was not met, its error is {error:.2g}: take more steps, or another step_size")
    row = {
        "layer": layer,
        "normalised_error": error,
        "psnr": _psnr(pixels, run.image),
        **picture_scores(pixels, run.image).values,
        **{f"objective_{term}": value for term, value in outcome.after.items()},
    }
    state.pictures, state.rows = [*state.pictures, pixels], [*state.rows, row]
    state.done += outcome.steps
    yield Image(f"inverted_{layer}", pixels, caption=f"from {layer}: normalised error {error:.3g}")
    yield Tensor(f"inverted_{layer}", pixels[0], caption="pixels, 1 is white")


def _descended(
    run: Run[FeatureInversionParams], inversion: _Inversion, done: int, total: int
) -> Generator[Event, None, Outcome]:
    params, canvas = run.params, Centred.of(run.network, "bytes")
    deviation = torch.tensor(run.network.spec.std, device=run.network.device).view(1, 3, 1, 1) * 255
    spread = deviation.square().sum() * run.image.shape[-2:].numel()  # S²

    def objective(pixels: torch.Tensor) -> Mapping[str, torch.Tensor]:
        code = canvas.code(pixels)
        terms = {"error": inversion.distance(pixels)}
        if inversion.variation:
            terms["variation"] = inversion.variation / 2 / spread * total_variation(code, params.beta)
        if params.alpha_norm and inversion.layer != _INPUT:
            terms["alpha_norm"] = params.alpha_norm / 2 / spread * alpha_norm(code, params.alpha)
        return terms

    noise = torch.randn(run.image.shape).to(run.image.device)
    begin = noise * (spread.sqrt() / noise.norm())
    update = _update(params, float(spread))
    prior = params.model_dump(include=_PRIOR)
    descent = Descent(objective, update, params.steps, canvas, params.preview_every, shown=_shown, steered=prior)
    outcome = yield from descent.run(run, begin, done=done, total=total, caption=f"from {inversion.layer}")
    if isinstance(update, CarefulMomentum) and update.cuts:
        yield Note(f"{inversion.layer}: the step led away and was cut to a quarter, {update.cuts} times over")
    return outcome


def _update(params: FeatureInversionParams, spread: float) -> Update:
    def rate(step: int) -> float:
        quarter = 4 * step // params.steps
        return params.step_size * (1.0 if quarter < 1 else 0.1 if quarter < 3 else 0.01)  # noqa: PLR2004 - quarters

    return Adam(rate) if params.update == "adam" else CarefulMomentum(lambda step: rate(step) * spread)


def _psnr(pixels: torch.Tensor, image: torch.Tensor) -> float:
    return float(-10 * (pixels - image).square().mean().clamp(min=1e-12).log10())


def _shown(pixels: torch.Tensor) -> torch.Tensor:
    return pixels.detach().clamp(0, 1)
