"""The built-in techniques, plugged in exactly like anyone else's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from convscope_sdk.hookspecs import hookimpl
from convscope_sdk.models import Architecture, ModelSource
from convscope_sdk.technique import Technique
from convscope_techniques.activations.activations import activations as _activations
from convscope_techniques.attribution.deconvnet import deconvnet as _deconvnet
from convscope_techniques.attribution.eigen_cam import eigen_cam as _eigen_cam
from convscope_techniques.attribution.grad_cam import grad_cam as _grad_cam
from convscope_techniques.attribution.grad_cam_plus_plus import grad_cam_plus_plus as _grad_cam_plus_plus
from convscope_techniques.attribution.guided_backprop import guided_backprop as _guided_backprop
from convscope_techniques.attribution.guided_grad_cam import guided_grad_cam as _guided_grad_cam
from convscope_techniques.attribution.hires_cam import hires_cam as _hires_cam
from convscope_techniques.attribution.integrated_gradients import integrated_gradients as _integrated_gradients
from convscope_techniques.attribution.layer_cam import layer_cam as _layer_cam
from convscope_techniques.attribution.occlusion import occlusion as _occlusion
from convscope_techniques.attribution.rise import rise as _rise
from convscope_techniques.attribution.saliency import saliency as _saliency
from convscope_techniques.attribution.score_cam import score_cam as _score_cam
from convscope_techniques.attribution.smoothgrad import smoothgrad as _smoothgrad
from convscope_techniques.embedding.embedding import embedding as _embedding
from convscope_techniques.embedding.nearest_neighbors import nearest_neighbors as _nearest_neighbors
from convscope_techniques.generators.inversion_network import build_inversion_network as _build_inversion_network
from convscope_techniques.generators.inversion_network_training import (
    inversion_network_training as _inversion_network_training,
)
from convscope_techniques.segmentation.segmentation import segmentation as _segmentation
from convscope_techniques.shipped.source import ShippedSource as _ShippedSource
from convscope_techniques.synthesis.class_visualization import class_visualization as _class_visualization
from convscope_techniques.synthesis.deepdream import deepdream as _deepdream
from convscope_techniques.synthesis.feature_inversion import feature_inversion as _feature_inversion
from convscope_techniques.synthesis.feature_visualization import feature_visualization as _feature_visualization
from convscope_techniques.synthesis.fgsm import fgsm as _fgsm
from convscope_techniques.synthesis.fooling_image import fooling_image as _fooling_image
from convscope_techniques.synthesis.latent_visualization import latent_visualization as _latent_visualization
from convscope_techniques.synthesis.pgd import pgd as _pgd
from convscope_techniques.texture.fast_style_training import fast_style_training as _fast_style_training
from convscope_techniques.texture.fast_style_transfer import fast_style_transfer as _fast_style_transfer
from convscope_techniques.texture.image_quilting import image_quilting as _image_quilting
from convscope_techniques.texture.neural_texture import neural_texture as _neural_texture
from convscope_techniques.texture.style_net import STYLE_NET
from convscope_techniques.texture.style_transfer import style_transfer as _style_transfer
from convscope_techniques.texture.texture_synthesis import texture_synthesis as _texture_synthesis
from convscope_techniques.units.activation_atlas import activation_atlas as _activation_atlas
from convscope_techniques.units.dissect import dissect as _dissect
from convscope_techniques.units.maximal_patches import maximal_patches as _maximal_patches
from convscope_techniques.weights.filters import filters as _filters

__all__ = ["convscope_architectures", "convscope_model_sources", "convscope_techniques"]


@hookimpl
def convscope_techniques() -> Iterable[Technique[Any]]:
    """The techniques of this package."""
    return [
        _filters,
        _activations,
        _saliency,
        _smoothgrad,
        _integrated_gradients,
        _deconvnet,
        _guided_backprop,
        _grad_cam,
        _grad_cam_plus_plus,
        _hires_cam,
        _layer_cam,
        _score_cam,
        _eigen_cam,
        _guided_grad_cam,
        _occlusion,
        _rise,
        _segmentation,
        _deepdream,
        _class_visualization,
        _feature_inversion,
        _feature_visualization,
        _latent_visualization,
        _inversion_network_training,
        _fgsm,
        _fooling_image,
        _pgd,
        _nearest_neighbors,
        _embedding,
        _maximal_patches,
        _dissect,
        _activation_atlas,
        _texture_synthesis,
        _image_quilting,
        _neural_texture,
        _style_transfer,
        _fast_style_transfer,
        _fast_style_training,
    ]


@hookimpl
def convscope_architectures() -> Iterable[Architecture]:
    """The architectures of networks that these techniques train."""
    return [
        Architecture("inversion_network", _build_inversion_network, "turns a layer's output back into the picture"),
        STYLE_NET,
    ]


@hookimpl
def convscope_model_sources() -> Iterable[ModelSource]:
    """The models that come with this package."""
    return [_ShippedSource(convscope_architectures())]
