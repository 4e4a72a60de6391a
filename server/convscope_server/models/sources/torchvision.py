"""`torchvision:NAME`: the classification models of torchvision, with their own weights and preprocessing."""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from convscope_sdk.errors import UnknownName
from convscope_sdk.models import ModelEntry, ModelSpec
from convscope_server.models.errors import ModelBroken, WeightsUnreachable
from convscope_server.models.seeding import seeded
from convscope_server.models.sources.reach import impatient_sockets, why_unreachable
from convscope_server.models.sources.reference import Reference

if TYPE_CHECKING:
    from torch import nn

__all__ = ["TorchvisionSource", "untrained"]

# Both were trained on inputs scaled to [-1, 1] and carry that step inside; without init_weights they warn.
_INCEPTIONS = {"googlenet", "inception_v3"}


class TorchvisionSource:
    """Resolves `torchvision:NAME`, `?weights=IMAGENET1K_V1` and `?weights=random`; lists nothing.

    Preprocessing is that of the weights' `transforms()`. Weights come from torch.hub's cache, or from their host
    where it answers.
    """

    name = "torchvision"

    def entries(self) -> Iterable[ModelEntry]:
        """None: all of them are names that people know."""
        return ()

    def spec(self, name: str) -> ModelSpec | None:
        """How to build it, or None where the name does not start with "torchvision:".

        Building raises WeightsUnreachable where weights are neither cached nor to be had; random weights are
        seeded by the name.

        Raises:
            UnknownName: torchvision has no classification model, or the model no weights, of that name.
            InvalidParams: an option other than `weights`.
        """
        reference = Reference.parse(name, self.name)
        if reference is None:
            return None
        weights = _weights(reference)
        transforms = weights.transforms()
        (crop,), (resize,) = transforms.crop_size, transforms.resize_size
        return ModelSpec(
            name=name,
            source=self.name,
            build=lambda: _build(reference, weights),
            description=f"{reference.architecture} of torchvision",
            input_size=crop,
            mean=tuple(transforms.mean),
            std=tuple(transforms.std),
            interpolation=transforms.interpolation.value,
            crop_fraction=crop / resize,
            classes=tuple(weights.meta["categories"]),
            random_weights=reference.random,
        )


def untrained(architecture: str, classes: int | None = None) -> nn.Module:
    """A module of torchvision with random weights, seeded by its name; `classes` outputs, or 1,000."""
    from convscope_sdk.torchvision_ops import ensure_torchvision

    ensure_torchvision()
    from torchvision.models import get_model

    arguments: dict[str, Any] = {} if classes is None else {"num_classes": classes}
    if architecture in _INCEPTIONS:
        arguments |= {"init_weights": True, "transform_input": True}
    with seeded(f"torchvision:{architecture}"):
        return cast("nn.Module", get_model(architecture, weights=None, **arguments))


def _weights(reference: Reference) -> Any:
    """The member of torchvision's enumeration of weights."""
    from convscope_sdk.torchvision_ops import ensure_torchvision

    ensure_torchvision()
    from torchvision import models

    known = models.list_models(module=models)
    if reference.architecture not in known:
        names = [f"torchvision:{name}" for name in known]
        raise UnknownName.among("model", reference.text, names, hint="classification models only")
    members = models.get_model_weights(reference.architecture)
    if reference.random or not reference.weights:
        return members.DEFAULT
    if reference.weights not in members.__members__:
        names = [f"torchvision:{reference.architecture}?weights={member.name}" for member in members]
        raise UnknownName.among("model", reference.text, names)
    return members[reference.weights]


def _build(reference: Reference, weights: Any) -> nn.Module:
    if reference.random:
        return untrained(reference.architecture)
    _fetch(reference, weights)
    from torchvision.models import get_model

    with seeded(reference.text):
        return cast("nn.Module", get_model(reference.architecture, weights=weights, progress=False))


def _fetch(reference: Reference, weights: Any) -> None:
    """See that the weights are in torch.hub's cache, and hold tensors only: torchvision itself would unpickle."""
    import torch

    file = Path(torch.hub.get_dir(), "checkpoints", weights.url.rpartition("/")[2])
    cause = "" if file.exists() else why_unreachable(weights.url)
    if cause:
        raise WeightsUnreachable.of(reference.text, place=weights.url, cause=cause)
    try:
        with impatient_sockets():
            weights.get_state_dict(progress=False, check_hash=True, map_location="cpu", weights_only=True)
    except OSError as error:  # the network's
        raise WeightsUnreachable.of(reference.text, place=weights.url, cause=str(error)[:200]) from error
    except (RuntimeError, pickle.UnpicklingError) as error:  # a wrong digest, or no state dict
        raise ModelBroken(f"the weights file {file} cannot be used; delete it: {str(error)[:200]}") from error
