"""The default model in this process, as the server's worker has it."""

from __future__ import annotations

from convscope_sdk.network import Network
from convscope_server.models.registry import ModelRegistry, builtin_sources

__all__ = ["default_network"]


def default_network() -> Network:
    """EfficientNet-Lite0 on the CPU."""
    spec = ModelRegistry(builtin_sources()).spec("efficientnet_lite0")
    return Network(spec.build(), spec)
