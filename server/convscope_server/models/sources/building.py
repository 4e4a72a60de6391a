"""A module from what a model.toml says of it."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from convscope_sdk.errors import TechniqueError, UnknownName
from convscope_sdk.models import Architecture
from convscope_server.models.errors import ModelBroken
from convscope_server.models.seeding import seeded
from convscope_server.models.sources import timm, torchvision
from convscope_server.models.sources.manifest import Manifest, inside
from convscope_server.models.sources.state_dict import load_state_dict, read_state_dict

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["architecture_of", "build_module"]


def build_module(
    name: str, folder: Path, manifest: Manifest, labels: int, architectures: Mapping[str, Architecture]
) -> nn.Module:
    """The module of the model `name` with its weights, on the CPU.

    Args:
        name: Of the model: seeds what its architecture draws.
        folder: Where its files are.
        manifest: Its model.toml.
        labels: How many classes it has; 0 for the architecture's own number.
        architectures: What "convscope:" names.

    Raises:
        ModelBroken: the architecture cannot be built so, or the weights are not its.
        UnknownName: there is no such architecture.
    """
    module = _untrained(name, folder, manifest, labels, architectures)
    if manifest.weights:
        state = read_state_dict(inside(folder, manifest.weights))
        if manifest.library == "convscope":
            state = dict(architecture_of(manifest, architectures).adapt(state))
        _keep_sigma(module, state, manifest)
        load_state_dict(module, state, file=manifest.weights, architecture=manifest.architecture)
    return module


def _keep_sigma(module: nn.Module, state: Mapping[str, Tensor], manifest: Manifest) -> None:
    """Sees that the module holds the deviations of its codes' units, also where its architecture has no place for them.

    Raises:
        ModelBroken: they are not among the weights, or are no deviations of such codes.
    """
    name = manifest.codes.sigma if manifest.codes else ""
    if not name:
        return
    if name not in state:
        raise ModelBroken(f"codes.sigma: {manifest.weights} has no tensor {name!r} with the units' deviations")
    sigma = state[name]
    try:
        fits = sigma.broadcast_to(manifest.code_shape).shape == manifest.code_shape
    except RuntimeError:
        fits = False
    if not fits or not bool((sigma >= 0).all()):
        raise ModelBroken(
            f"codes.sigma: {name!r} of shape {tuple(sigma.shape)} is no deviation for each unit of a code of shape "
            f"{manifest.code_shape}"
        )
    if name not in module.state_dict():
        module.register_buffer(name, sigma.clone())


def architecture_of(manifest: Manifest, architectures: Mapping[str, Architecture]) -> Architecture:
    """The architecture that a "convscope:" name means.

    Raises:
        UnknownName: no plugin offers it; carries near names.
    """
    identifier = manifest.architecture.partition(":")[2]
    if identifier not in architectures:
        raise UnknownName.among("architecture", identifier, architectures, hint="is its plugin installed?")
    return architectures[identifier]


def _untrained(
    name: str, folder: Path, manifest: Manifest, labels: int, architectures: Mapping[str, Architecture]
) -> nn.Module:
    _, _, rest = manifest.architecture.partition(":")
    match manifest.library:
        case "timm":
            return timm.untrained(rest, labels or None)
        case "torchvision":
            return torchvision.untrained(rest, labels or None)
        case "convscope":
            build = architecture_of(manifest, architectures).build
            return _built(name, manifest.architecture, lambda: build(**manifest.arguments))
    return _from_code(name, folder, manifest.architecture)


def _from_code(name: str, folder: Path, architecture: str) -> nn.Module:
    module_name, _, callable_name = architecture.partition(":")

    def build() -> Any:
        return _callable(name, folder, module_name, callable_name)()

    return _built(name, architecture, build)


def _built(name: str, architecture: str, build: Callable[[], Any]) -> nn.Module:
    from torch import nn

    try:
        with seeded(name):
            made = build()
    except TechniqueError:
        raise
    except Exception as error:  # the bug of whoever wrote the model's code, or its arguments
        raise ModelBroken(f"{architecture} failed with {type(error).__name__}: {error}"[:400]) from error
    if not isinstance(made, nn.Module):
        raise ModelBroken(f"{architecture} gave {type(made).__name__}, not a torch.nn.Module")
    return made


def _callable(name: str, folder: Path, module_name: str, callable_name: str) -> Callable[[], Any]:
    beside = folder / f"{module_name}.py"
    module = _import_file(name, inside(folder, beside.name)) if beside.exists() else _import(module_name)
    found: Callable[[], Any] = getattr(module, callable_name)
    return found


def _import(module_name: str) -> ModuleType:
    return importlib.import_module(module_name)


def _import_file(name: str, file: Path) -> ModuleType:
    """The module in a file, under a name of its own: two models may both have a net.py."""
    unique = f"convscope_model_{name.replace('.', '_').replace('-', '_')}_{file.stem}"
    spec = importlib.util.spec_from_file_location(unique, file)
    assert spec is not None  # it is a .py file
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[unique] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module
