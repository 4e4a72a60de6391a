"""What a step of the techniques costs that change a picture, against libraries and tutorials that do the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from benchmarks.harness import photograph
from benchmarks.inprocess import default_network
from benchmarks.interleaved import interleaved
from benchmarks.peers import lucent, module_of, torchattacks
from benchmarks.result import Measure, Result, median
from benchmarks.tutorial import TutorialStyle

from convscope_sdk.events import Event, Progress
from convscope_sdk.images import fit_image, open_image, to_tensor
from convscope_sdk.network import Network
from convscope_techniques.synthesis.deepdream import deepdream
from convscope_techniques.synthesis.feature_visualization import feature_visualization
from convscope_techniques.synthesis.pgd import pgd
from convscope_techniques.texture.style_transfer import style_transfer

SIZE = 224  # lucent enlarges smaller pictures
LAYER = "blocks.4"
STEPS = 8  # in a round
PAINTING = 3  # rounds: the tutorial's L-BFGS has no line search, and leaps to noise after some 35 evaluations
CLASS = 282
BOUNDS = {"feature_visualization": 0.7, "deepdream": 0.7, "pgd": 1.0, "style_transfer": 1.0}
PEERS = {
    "feature_visualization": "lucent",
    "deepdream": "lucent",
    "pgd": "torchattacks",
    "style_transfer": "the PyTorch tutorial's loop",
}
STYLE_LAYERS = ("conv_stem", "blocks.0", "blocks.1", "blocks.2", "blocks.3")
CONTENT_LAYER = "blocks.2"


def run(*, quick: bool = False) -> Result:
    """Medians of rounds of steps taken in turns, of ours / the peer's; for pgd, of whole calls."""
    network, rounds = default_network(), 2 if quick else 10
    jobs = {
        "feature_visualization": (_visualized(network), _by_lucent(network, _channel, rounds)),
        "deepdream": (_dreamt(network), _by_lucent(network, _dream, rounds)),
        "pgd": (_attacked(network), _by_torchattacks(network)),
        "style_transfer": (_anew(_painted, network, rounds), _anew(_by_tutorial, network, rounds)),
    }
    found = {name: _timed(*pair, rounds) for name, pair in jobs.items()}
    measures = tuple(
        Measure(f"{name} / {PEERS[name]}", ours / peer, BOUNDS[name]) for name, (ours, peer) in found.items()
    )
    details = {
        f"{name}_{who}": seconds
        for name, pair in found.items()
        for who, seconds in zip(("ours", "peer"), pair, strict=True)
    }
    return Result("synthesis", measures, details)


def _timed(ours: Callable[[], object], peer: Callable[[], object], rounds: int) -> tuple[float, float]:
    times = interleaved({"ours": ours, "peer": peer}, rounds=rounds)
    return median(times["ours"]), median(times["peer"])


def _anew(paint: Callable[[Network], Callable[[], object]], network: Network, rounds: int) -> Callable[[], object]:
    """A round of a painting at each call, every `PAINTING` calls of a new one; each was set up and begun beforehand."""
    paintings = [paint(network) for _ in range(-(-(rounds + 1) // PAINTING))]
    turns = iter([painting for painting in paintings for _ in range(PAINTING)])

    def call() -> None:
        next(turns)()

    return call


def _stepper(events: Iterator[Event]) -> Callable[[], object]:
    """`STEPS` steps of a run at each call, with their previews."""

    def call() -> None:
        for _ in range(STEPS):
            next(event for event in events if isinstance(event, Progress))

    return call


def _visualized(network: Network) -> Callable[[], object]:
    return _stepper(feature_visualization.run(network, target=f"{LAYER}:17", size=SIZE, steps=10_000))


def _dreamt(network: Network) -> Callable[[], object]:
    return _stepper(deepdream.run(network, photograph(), layer=LAYER, octaves=1, steps=1000, fit="crop", size=SIZE))


def _attacked(network: Network) -> Callable[[], object]:
    return lambda: list(pgd.run(network, photograph(), label=CLASS))


def _painted(network: Network) -> Callable[[], object]:
    """As the tutorial: L-BFGS on content and Gram losses from the content picture, the network as it is."""
    events = style_transfer.run(
        network, photograph(), extra_images={"style": photograph("coffee")}, fit="crop", size=SIZE,
        optimizer="lbfgs", history=100, steps=10_000, pooling="max", tv_weight=0, style_layers=STYLE_LAYERS,
        content_layers=[CONTENT_LAYER], layer_weights=[1] * len(STYLE_LAYERS), convention="mse", style_weight=1e6,
    )  # fmt: skip
    next(event for event in events if isinstance(event, Progress))
    return _stepper(events)


def _by_lucent(network: Network, objective: Callable[[Any, str], Any], rounds: int) -> Callable[[], object]:
    """`render_vis` with a new copy of the network each time, made beforehand: it leaves its hooks on every one."""
    optvis = lucent()
    modules = iter([network.spec.build().eval() for _ in range(rounds + 1)])

    def call() -> None:
        module = next(modules)
        parameters, transforms, wish = objective(optvis, LAYER.replace(".", "_"))
        optvis.render.render_vis(
            module, wish, parameters, transforms=transforms, thresholds=(STEPS,), progress=False, show_image=False
        )

    return call


def _channel(optvis: Any, layer: str) -> tuple[Any, Any, Any]:
    return lambda: optvis.param.image(SIZE), None, optvis.objectives.channel(layer, 17)


def _dream(optvis: Any, layer: str) -> tuple[Any, Any, Any]:
    """A photograph's pixels, jitter, and ½·‖a‖²: lucent has no dream of its own, but this is how one writes it."""

    def parameters() -> tuple[list[torch.Tensor], Callable[[], torch.Tensor]]:
        picture = _pixels(default_network()).requires_grad_()
        return [picture], lambda: picture

    wish = optvis.objectives.Objective(lambda outputs: -outputs(layer).square().sum() / 2)
    return parameters, [optvis.transform.jitter(32)], wish


def _by_torchattacks(network: Network) -> Callable[[], object]:
    attack = torchattacks().PGD(module_of(network))
    return lambda: attack(_pixels(network), torch.tensor([CLASS]))


def _by_tutorial(network: Network) -> Callable[[], object]:
    content, painting = _pixels(network), _pixels(network, "coffee")
    normalize, module = module_of(network)
    stages = {
        "normalize": normalize,
        "conv_stem": module.get_submodule("conv_stem"),
        "bn1": module.get_submodule("bn1"),
        **{f"blocks.{number}": block for number, block in enumerate(module.get_submodule("blocks").children())},
    }
    style = TutorialStyle(stages, content, painting, STYLE_LAYERS, CONTENT_LAYER)
    style.evaluate(1)
    return lambda: style.evaluate(STEPS)


def _pixels(network: Network, name: str = "chelsea") -> torch.Tensor:
    return to_tensor(fit_image(open_image(photograph(name)).picture, network.spec, fit="crop", size=SIZE))
