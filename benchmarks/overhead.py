"""What asking a server costs over calling the technique, and over the peer that people use today."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.harness import photograph, serving
from benchmarks.inprocess import default_network
from benchmarks.interleaved import interleaved
from benchmarks.peers import module_of
from benchmarks.result import Measure, Result, median
from PIL import Image

import convscope
from convscope_sdk.events import Heatmap, Tensor
from convscope_sdk.events import Image as Shown
from convscope_sdk.images import fit_image, open_image, to_tensor
from convscope_sdk.inprocess import prepare
from convscope_sdk.network import Network
from convscope_sdk.render import Renderer
from convscope_server.runs.events import Artifact
from convscope_server.worker.encode import result_artifact
from convscope_techniques.attribution.grad_cam import grad_cam

LOOPBACK_BOUND = 1.15
PEER_BOUND = 1.0


def run(*, quick: bool = False) -> Result:
    """Medians of interleaved calls: server over loopback with PNG results, in process, pytorch-grad-cam in process."""
    network, photo = default_network(), photograph()
    with serving() as (_, client):
        jobs: dict[str, Callable[[], object]] = {
            "loopback": lambda: _over_loopback(client, photo),
            "in_process": lambda: list(grad_cam.run(network, photo)),
            "in_process_to_png": lambda: _to_png(network, photo),
            "peer": _peer(network, photo),
        }
        times = interleaved(jobs, rounds=8 if quick else 60, warm_up=3)
    loopback, here, drawn, peer = (median(times[name]) for name in jobs)
    measures = (
        Measure("grad_cam over loopback / in process", loopback / here, LOOPBACK_BOUND),
        Measure("grad_cam over loopback / in process, PNG on both sides", loopback / drawn, LOOPBACK_BOUND),
        Measure("grad_cam over loopback / pytorch-grad-cam in process", loopback / peer, PEER_BOUND),
    )
    return Result("overhead", measures, {name: median(times[name]) for name in jobs})


def _over_loopback(client: convscope.Client, photo: bytes) -> Image.Image:
    return client.visualize("grad_cam", image=photo).result().images["overlay"]


def _to_png(network: Network, photo: bytes) -> list[Artifact]:
    """The same files that the server makes, made here."""
    prepared = prepare(grad_cam, network, photo, params={})
    renderer = Renderer(prepared.input)
    results = [Shown("input", prepared.input), *grad_cam.function(prepared.run)]
    return [
        result_artifact(rendered)
        for event in results
        if isinstance(event, Shown | Heatmap | Tensor)
        for rendered in renderer.render(event)
    ]


def _peer(network: Network, photo: bytes) -> Callable[[], object]:
    """pytorch-grad-cam 1.5.7 as its README uses it, from the file to the map: it draws and encodes nothing."""
    from pytorch_grad_cam import GradCAM

    module = module_of(network)
    cam = GradCAM(model=module, target_layers=[module[1].get_submodule(network.aliases["last_conv"])])

    def call() -> object:
        picture = fit_image(open_image(photo).picture, network.spec, fit="crop", size=None)
        return cam(input_tensor=to_tensor(picture), targets=None)

    return call
