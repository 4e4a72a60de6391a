"""The details of what the network looked at for a class (Selvaraju et al. 2017, section 3.2)."""

from __future__ import annotations

from convscope_sdk import events
from convscope_sdk.run import Run
from convscope_techniques.attribution.attribution import Found, Reporting, attribution
from convscope_techniques.attribution.cam import CamParams, drawn, evidence
from convscope_techniques.attribution.grad_cam import weighted_maps
from convscope_techniques.attribution.ruled_gradient import ruled_gradient

__all__ = ["guided_grad_cam"]


@attribution(
    "guided_grad_cam",
    needs={"image", "gradients", "classes", "spatial_layer"},
    cites="Selvaraju et al. 2017, arXiv:1610.02391",
)
def guided_grad_cam(run: Run[CamParams]) -> Reporting:
    """The fine details within what the network looked at for a class: guided backpropagation times Grad-CAM.

    Tensor `gradient`, (3, H, W), is the guided gradient with respect to pixels times tensor `grad_cam`, (H, W), the
    Grad-CAM of the layer at the picture's size. Grad-CAM says where for this class, guided backpropagation what;
    where the first is zero nothing shows. Refused for networks without ReLUs.
    """
    network, image, params = run.network, run.image, run.params
    guided = ruled_gradient(network, image, params.target, "guided")
    _, found = evidence(network, image, guided.explained.target, params.names(network))
    where = drawn({layer: weighted_maps(*at).relu() for layer, at in found.items()}, image)
    yield from guided.explained.events(network)
    yield from guided.applicability()
    strength = yield from guided.results("guided_grad_cam", guided.gradient * where)
    yield events.Tensor("grad_cam", where, caption=f"evidence for {guided.explained.target}, at the picture's size")
    yield events.Tensor("guided_backprop", guided.gradient[0], caption="the guided gradient before it was weighted")
    if not where.any():
        yield events.Note(f"nothing speaks for {guided.explained.target} at {', '.join(found)}: all is zero")
    return Found(strength, guided.explained.target)
