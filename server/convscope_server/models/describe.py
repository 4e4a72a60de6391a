"""A loaded model, told to whoever asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convscope_server.engine.messages import LayerInfo, ModelDetail, ModelInfo

if TYPE_CHECKING:
    from convscope_sdk.layers import LayerInfo as Layer
    from convscope_sdk.network import Network

__all__ = ["describe"]


def describe(network: Network, info: ModelInfo) -> ModelDetail:
    """Everything that the catalog says of a loaded model; `info` is its entry there. Costs two forward passes once.

    No layers where a generator does not say what it takes.
    """
    spec = network.spec
    watchable = spec.kind != "generator" or bool(spec.code_shape)
    return ModelDetail(
        info=info,
        weights_digest=network.digest,
        random_weights=spec.random_weights,
        parameters=network.parameters_count,
        size_bytes=network.size_bytes,
        input_size=spec.input_size,
        mean=spec.mean,
        std=spec.std,
        classes=spec.classes,
        layers=tuple(_layer(layer) for layer in network.layers) if watchable else (),
        aliases=dict(network.aliases) if watchable else {},
    )


def _layer(layer: Layer) -> LayerInfo:
    field = layer.receptive_field
    return LayerInfo(
        name=layer.name,
        kind=layer.kind,
        output_shape=layer.output_shape,
        parameters=layer.parameters,
        functional=layer.functional,
        receptive_field=None if field is None else (field.size, field.stride, field.offset),
    )
