"""Where a layer is active, whatever the class: its maps' first principal component (Muhammad & Yeasin 2020)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from convscope_sdk.events import Predictions, Scores
from convscope_sdk.network import Network
from convscope_sdk.run import Run
from convscope_techniques.attribution.attribution import Found, Reporting, attribution
from convscope_techniques.attribution.cam import LayersParams, cam_results, check_positions

__all__ = ["EigenCamParams", "eigen_cam", "first_component"]


class EigenCamParams(LayersParams):
    """Parameters of `eigen_cam`."""

    centered: bool = Field(
        False,
        description=(
            "Take each map's mean away first, so that the component is that of largest variance; the paper does not."
        ),
    )


@attribution("eigen_cam", needs={"image", "spatial_layer"}, cites="Muhammad & Yeasin 2020, arXiv:2008.00299")
def eigen_cam(run: Run[EigenCamParams]) -> Reporting:
    """Where a layer is active, whatever the class: its maps projected on their first principal component.

    With the maps as a matrix A, positions by channels, and A = U S V^T, tensor `cam`, (h, w), is ReLU(A v_1),
    with the sign of v_1 chosen so that it is high where the layer is active. No gradient and no target: it shows
    what stands out to the layer, not what speaks for a class. Score `explained_fraction` is s_1^2 / sum of s^2.
    """
    network, image = run.network, run.image
    with torch.no_grad():
        maps, logits = _observed(network, image, run.params.names(network))
        check_positions(network, image, maps)
        components = {layer: first_component(values, centered=run.params.centered) for layer, values in maps.items()}
    if logits is not None:
        yield Predictions(network.predictions(logits))
    cams = {layer: cam.relu() for layer, (cam, _) in components.items()}
    values = yield from cam_results("eigen_cam", cams, image, what="first principal component")
    fractions = [fraction for _, fraction in components.values()]
    yield Scores({"explained_fraction": sum(fractions) / len(fractions)})
    return Found(values, None)


def first_component(maps: Tensor, *, centered: bool) -> tuple[Tensor, float]:
    """The projection of (1, C, h, w) maps on their first principal component, (1, 1, h, w), and its share of A²."""
    matrix = maps[0].flatten(1).T
    if centered:
        matrix = matrix - matrix.mean(0)
    _, singular, directions = torch.linalg.svd(matrix, full_matrices=False)
    projection = matrix @ directions[0]
    sign = -1.0 if float(projection @ matrix.sum(1)) < 0 else 1.0
    energy = singular.square()
    fraction = float(energy[0] / energy.sum()) if float(energy[0]) > 0 else 0.0
    return (sign * projection).view(1, 1, *maps.shape[2:]), fraction


def _observed(network: Network, image: Tensor, layers: tuple[str, ...]) -> tuple[dict[str, Tensor], Tensor | None]:
    if network.spec.kind == "classifier":
        return network.activations_and_logits(image, *layers)
    return network.activations(image, *layers), None
