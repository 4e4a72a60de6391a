"""What attribution costs in process, from the file to all results, against libraries that only compute a map."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from benchmarks.harness import photograph
from benchmarks.inprocess import default_network
from benchmarks.interleaved import interleaved
from benchmarks.peers import module_of
from benchmarks.result import Measure, Result, median

from convscope_sdk.images import fit_image, open_image, to_tensor
from convscope_sdk.network import Network
from convscope_sdk.technique import Technique
from convscope_techniques.attribution.grad_cam import grad_cam
from convscope_techniques.attribution.occlusion import occlusion
from convscope_techniques.attribution.score_cam import score_cam

LAYER = "blocks.3"  # 80 maps: Score-CAM passes the network once for each
CLASS = 282  # tiger cat; the peers take an index
WINDOW, STRIDE = 32, 16
BOUNDS = {"occlusion": 0.5, "grad_cam": 1.0, "score_cam": 0.7}


def run(*, quick: bool = False) -> Result:
    """Medians of interleaved calls: occlusion / captum, grad_cam and score_cam / pytorch-grad-cam."""
    network = default_network()
    found = {
        "occlusion": _timed(
            _ours(network, occlusion, window=WINDOW, stride=STRIDE), _captum(network), 1 if quick else 5
        ),
        "grad_cam": _timed(_ours(network, grad_cam), _pytorch_grad_cam(network, "GradCAM"), 5 if quick else 40),
        "score_cam": _timed(
            _ours(network, score_cam, layer=LAYER), _pytorch_grad_cam(network, "ScoreCAM", LAYER), 1 if quick else 5
        ),
    }
    peers = {"occlusion": "captum", "grad_cam": "pytorch-grad-cam", "score_cam": "pytorch-grad-cam"}
    measures = tuple(
        Measure(f"{name} / {peers[name]}", times["ours"] / times["peer"], BOUNDS[name]) for name, times in found.items()
    )
    return Result("attribution", measures, {f"{name}_{who}": found[name][who] for name in found for who in found[name]})


def _timed(ours: Callable[[], object], peer: Callable[[], object], rounds: int) -> dict[str, float]:
    times = interleaved({"ours": ours, "peer": peer}, rounds=rounds)
    return {who: median(seconds) for who, seconds in times.items()}


def _ours(network: Network, technique: Technique[Any], **params: Any) -> Callable[[], object]:
    photo = photograph()
    return lambda: list(technique.run(network, photo, target=CLASS, **params))


def _captum(network: Network) -> Callable[[], object]:
    """Captum's Occlusion with its own default of one window in a pass."""
    from captum.attr import Occlusion

    peer = Occlusion(module_of(network))
    shape = {"sliding_window_shapes": (3, WINDOW, WINDOW), "strides": (3, STRIDE, STRIDE), "baselines": 0.5}

    def call() -> object:
        with torch.no_grad():
            return peer.attribute(_pixels(network), target=CLASS, **shape)

    return call


def _pytorch_grad_cam(network: Network, method: str, layer: str | None = None) -> Callable[[], object]:
    import pytorch_grad_cam
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    module = module_of(network)
    name = layer or network.aliases["last_conv"]
    peer = getattr(pytorch_grad_cam, method)(model=module, target_layers=[module[1].get_submodule(name)])
    return lambda: peer(input_tensor=_pixels(network), targets=[ClassifierOutputTarget(CLASS)])


def _pixels(network: Network) -> torch.Tensor:
    return to_tensor(fit_image(open_image(photograph()).picture, network.spec, fit="crop", size=None))
