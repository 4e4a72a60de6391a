"""`timm:NAME`: the models of PyTorch Image Models (Wightman 2019), with their own weights and preprocessing."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from convscope_sdk.errors import InvalidParams, UnknownName
from convscope_sdk.models import Interpolation, ModelEntry, ModelSpec
from convscope_server.models.errors import ModelBroken, WeightsUnreachable
from convscope_server.models.seeding import seeded
from convscope_server.models.sources.labels import imagenet_labels
from convscope_server.models.sources.reach import impatient_sockets, why_unreachable
from convscope_server.models.sources.reference import RANDOM, Reference

if TYPE_CHECKING:
    from torch import nn

__all__ = ["TimmSource", "untrained"]

_IMAGENET_CLASSES = 1000


class TimmSource:
    """Resolves `timm:NAME`, `timm:NAME.TAG` and `timm:NAME?weights=random`; lists nothing.

    Preprocessing is that of timm's `pretrained_cfg`, at the training resolution. Weights come from the caches of
    huggingface_hub and torch.hub, or through timm's own download where its host answers.
    """

    name = "timm"

    def entries(self) -> Iterable[ModelEntry]:
        """None: there are over a thousand."""
        return ()

    def spec(self, name: str) -> ModelSpec | None:
        """How to build it, or None where the name does not start with "timm:".

        Building raises WeightsUnreachable where weights are neither cached nor to be had; random weights are
        seeded by the name.

        Raises:
            UnknownName: timm has no model or tag of that name.
            InvalidParams: an option other than weights=random.
            ModelBroken: its input is no square RGB picture.
        """
        reference = Reference.parse(name, self.name)
        if reference is None:
            return None
        if reference.weights and not reference.random:
            raise InvalidParams(
                f"{name!r}: weights are {RANDOM!r} or part of the name, as in timm:resnet18.a1_in1k",
                reason="MODEL_NAME_INVALID",
            )
        config = _config(reference)
        return ModelSpec(
            name=name,
            source=self.name,
            build=lambda: _build(reference, config),
            description=f"{reference.architecture} of timm",
            input_size=_input_size(reference, config),
            mean=config.mean,
            std=config.std,
            interpolation=_interpolation(config.interpolation),
            crop_fraction=min(config.crop_pct, 1.0),
            classes=_classes(config),
            random_weights=reference.random,
        )


def untrained(architecture: str, classes: int | None = None) -> nn.Module:
    """A module of timm with random weights, seeded by its name; `classes` outputs, or its own number of them."""
    from convscope_sdk.torchvision_ops import ensure_torchvision

    ensure_torchvision()
    import timm

    with seeded(f"timm:{architecture}"):
        arguments: dict[str, Any] = {} if classes is None else {"num_classes": classes}
        return timm.create_model(architecture, pretrained=False, **arguments)


def _config(reference: Reference) -> Any:
    """The PretrainedCfg."""
    from convscope_sdk.torchvision_ops import ensure_torchvision

    ensure_torchvision()
    import timm
    from timm.models import get_pretrained_cfg

    # is_model also keeps out timm's own prefixes, which would read any folder or hub repository.
    if not timm.is_model(reference.architecture):
        raise UnknownName.among("model", reference.text, _names(timm.list_models()))
    try:
        config = get_pretrained_cfg(reference.architecture)
    except RuntimeError:
        tagged = timm.list_pretrained(f"{reference.architecture.partition('.')[0]}.*")
        raise UnknownName.among("model", reference.text, _names(tagged)) from None
    return config if config is not None else timm.models.PretrainedCfg()


def _names(architectures: Iterable[str]) -> list[str]:
    return [f"timm:{name}" for name in architectures]


def _input_size(reference: Reference, config: Any) -> int:
    channels, height, width = config.input_size
    if channels != 3 or height != width:  # noqa: PLR2004 - red, green, blue
        raise ModelBroken(
            f"{reference.text!r} takes {channels} channels of {height} by {width} pixels; "
            f"only models that take square RGB pictures can be looked into",
            reason="MODEL_NOT_SUPPORTED",
        )
    return int(height)


def _interpolation(name: str) -> Interpolation:
    return cast("Interpolation", name) if name in {"nearest", "bilinear", "bicubic", "lanczos"} else "bicubic"


def _classes(config: Any) -> tuple[str, ...]:
    from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset

    if config.label_names:
        return tuple(config.label_names)
    if config.num_classes == _IMAGENET_CLASSES:
        return imagenet_labels()
    subset = infer_imagenet_subset({"num_classes": config.num_classes})
    return tuple(ImageNetInfo(subset).label_descriptions()) if subset else ()


def _build(reference: Reference, config: Any) -> nn.Module:
    if reference.random:
        return untrained(reference.architecture)
    if not config.has_weights:
        raise WeightsUnreachable(
            f"timm has no weights for {reference.text!r}; ask for '{reference.text}?weights=random'",
            metadata={"model": reference.text},
        )
    cached = _cached(config)
    if cached is None:
        _require_host(reference, config)
    return _trained(reference, config, cached)


def _trained(reference: Reference, config: Any, cached: Path | None) -> nn.Module:
    import timm

    overlay = {"file": str(cached)} if cached else None
    try:
        with seeded(reference.text), impatient_sockets():
            return timm.create_model(reference.architecture, pretrained=True, pretrained_cfg_overlay=overlay)
    except OSError as error:  # the network's, not timm's: hubs and urllib raise nothing else
        raise WeightsUnreachable.of(reference.text, place=_place(config), cause=str(error)[:200]) from error


def _cached(config: Any) -> Path | None:
    """The file with the weights, where this machine has it."""
    import torch
    from huggingface_hub import try_to_load_from_cache

    if config.hf_hub_id:
        repository, _, revision = config.hf_hub_id.partition("@")
        for file in filter(None, (config.hf_hub_filename, "model.safetensors", "pytorch_model.bin")):
            found = try_to_load_from_cache(repository, file, revision=revision or None)
            if isinstance(found, str):
                return Path(found)
    if isinstance(config.url, str) and config.url:
        file = Path(torch.hub.get_dir(), "checkpoints", config.url.rpartition("/")[2])
        return file if file.exists() else None
    return None


def _require_host(reference: Reference, config: Any) -> None:
    from huggingface_hub import is_offline_mode

    place = _place(config)
    offline = bool(config.hf_hub_id) and is_offline_mode()
    cause = "HF_HUB_OFFLINE is set" if offline else why_unreachable(place)
    if cause:
        raise WeightsUnreachable.of(reference.text, place=place, cause=cause)


def _place(config: Any) -> str:
    from huggingface_hub import constants

    return f"{constants.ENDPOINT}/{config.hf_hub_id}" if config.hf_hub_id else str(config.url)
