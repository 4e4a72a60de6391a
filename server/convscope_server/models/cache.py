"""The models on one device: loaded when first asked for, shared by runs, evicted when others need the room."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn

from convscope_sdk.errors import OutOfMemory, TechniqueError
from convscope_sdk.models import ModelSpec
from convscope_sdk.network import Network
from convscope_server.engine.messages import LoadedModel
from convscope_server.errors import RequestError
from convscope_server.models.errors import ModelBroken, SourceFailed
from convscope_server.models.memory import default_budget, human_size, module_bytes
from convscope_server.models.seeding import seeded

__all__ = ["ModelCache", "default_budget"]

logger = logging.getLogger(__name__)


class _Specs(Protocol):
    """What the cache asks of a registry."""

    def spec(self, name: str) -> ModelSpec: ...


@dataclass(slots=True)
class _Held:
    network: Network
    size: int
    users: int = 0


class ModelCache:
    """Networks on one device, at most one of each name and `budget_bytes` of them together.

    Those without users leave, least recently used first, when another needs their room; those in use stay. Loading
    leaves no trace on random number generators. Methods may be called from any thread; loads happen one at a time.

    Args:
        registry: Says how to build a model.
        device: Where networks are put: "cpu", "cuda:0", "mps".
        budget_bytes: What they may take together there.
    """

    def __init__(self, registry: _Specs, device: str, budget_bytes: int) -> None:
        self.device = device
        self.budget_bytes = budget_bytes
        self._registry = registry
        self._held: OrderedDict[str, _Held] = OrderedDict()  # least recently used first
        self._lock = threading.RLock()

    def acquire(self, name: str) -> Network:
        """The network of the model `name`, loaded if need be, and kept until as many calls of `release`.

        Raises:
            OutOfMemory: it is larger than the budget, or (MODEL_BUDGET_EXCEEDED) models in use leave no room.
            TechniqueError: no such model, or it cannot be built or does not compute.
        """
        with self._lock:
            held = self._get(name)
            held.users += 1
            return held.network

    def release(self, name: str) -> None:
        """One user of `name` less. It stays on the device until others need its room.

        Raises:
            ValueError: it has no users.
        """
        with self._lock:
            # Nothing here names what is held: the traceback of a refusal would keep it on the device.
            if name not in self._held or self._held[name].users == 0:
                raise ValueError(f"model {name!r} was released more often than acquired")
            self._held[name].users -= 1
            self._held.move_to_end(name)

    def load(self, name: str) -> LoadedModel:
        """The model `name` on the device, without a user. Does nothing where it is there already.

        Raises:
            TechniqueError: as `acquire`.
        """
        with self._lock:
            return _report(name, self._get(name))

    def unload(self, name: str) -> bool:
        """Take `name` off the device; False where it is not there.

        Raises:
            RequestError: MODEL_IN_USE, a run uses it.
        """
        with self._lock:
            if name not in self._held:
                return False
            if users := self._held[name].users:
                message = f"model {name!r} is used by {users} live runs; cancel them or wait for their end"
                metadata = {"model": name, "users": str(users)}
                raise RequestError.of("FAILED_PRECONDITION", "MODEL_IN_USE", message, metadata=metadata)
            self._evict(name)
            return True

    def reload(self, name: str) -> None:
        """Give a loaded network its original parameters and buffers back, in place: its users keep what they hold.

        Raises:
            ModelBroken: MODEL_DAMAGED where parameters were added, removed or resized.
            ValueError: it is not loaded.
        """
        with self._lock:
            held = self._held.get(name)
            if held is None:
                raise ValueError(f"model {name!r} is not loaded")
            with seeded(name, self.device):
                _restore(held.network.module, _build(held.network.spec), name)

    def loaded(self) -> tuple[LoadedModel, ...]:
        """The models on the device, least recently used first."""
        with self._lock:
            return tuple(_report(name, held) for name, held in self._held.items())

    def _get(self, name: str) -> _Held:
        self._drop_if_stale(name)
        if name not in self._held:
            self._held[name] = self._load(name)
        self._held.move_to_end(name)
        return self._held[name]

    def _drop_if_stale(self, name: str) -> None:
        """Evict a model whose files are not those it was loaded from; one in use stays as it is till its runs end."""
        held = self._held.get(name)
        if held is None or held.users or not held.network.spec.version:
            return
        try:
            version = self._registry.spec(name).version
        except TechniqueError:
            self._evict(name)
            raise
        if version != held.network.spec.version:
            self._evict(name)

    def _load(self, name: str) -> _Held:
        spec = self._registry.spec(name)
        with seeded(name, self.device):
            module = _build(spec)
            self._make_room(name, module_bytes(module))
            held = self._place(module, spec)
            _warm_up(held.network)
        self._make_room(name, held.size)  # a device may take more than the tensors' own bytes
        held.network.digest  # noqa: B018 - computed now, it is that of the weights as loaded, whatever comes later
        return held

    def _place(self, module: nn.Module, spec: ModelSpec) -> _Held:
        before = self._allocated()
        size = module_bytes(module)
        try:
            network = Network(module, spec, device=self.device)
        except torch.OutOfMemoryError as error:
            raise OutOfMemory(
                f"{self.device} has no {human_size(size)} left for model {spec.name!r}; unload others or end runs",
                metadata={"model": spec.name, "size_bytes": str(size)},
            ) from error
        return _Held(network, max(size, self._allocated() - before))

    def _allocated(self) -> int:
        return torch.cuda.memory_allocated(self.device) if self.device.startswith("cuda") else 0

    def _make_room(self, name: str, size: int) -> None:
        """Evict as few as need be; none where it would not help."""
        facts = {"model": name, "size_bytes": str(size), "budget_bytes": str(self.budget_bytes)}
        if size > self.budget_bytes:
            raise OutOfMemory(
                f"model {name!r} takes {human_size(size)}, more than the {human_size(self.budget_bytes)} that all "
                f"models may take on {self.device}; raise model_budget_bytes or choose a smaller model",
                metadata=facts,
            )
        used = {other: held.size for other, held in self._held.items() if held.users}
        if sum(used.values()) + size > self.budget_bytes:
            raise OutOfMemory(
                f"model {name!r} takes {human_size(size)}; of the {human_size(self.budget_bytes)} on {self.device}, "
                f"{human_size(sum(used.values()))} are in use by {', '.join(used)}; try again when their runs end",
                reason="MODEL_BUDGET_EXCEEDED",
                metadata=facts | {"in_use": ", ".join(used)},
            )
        idle = [other for other in self._held if other not in used]
        while sum(held.size for held in self._held.values()) + size > self.budget_bytes:
            self._evict(idle.pop(0))

    def _evict(self, name: str) -> None:
        logger.info("model %s leaves %s", name, self.device)
        del self._held[name]
        if self.device.startswith("cuda"):
            torch.cuda.empty_cache()


def _report(name: str, held: _Held) -> LoadedModel:
    return LoadedModel(name, held.size, held.users)


def _build(spec: ModelSpec) -> nn.Module:
    try:
        return spec.build()
    except TechniqueError:
        raise
    except Exception as error:  # the bug of the source that said it could build it
        logger.exception("model source %r failed to build %r", spec.source, spec.name)
        raise SourceFailed.of(spec.source, spec.name, error) from error


def _warm_up(network: Network) -> None:
    """One forward pass: kernels are chosen before a run waits for them, and a model that cannot compute ends here."""
    spec = network.spec
    if spec.kind == "generator" and not spec.code_shape:
        return  # what it takes is no picture
    shape = spec.code_shape or (3, spec.input_size, spec.input_size)
    what = f"a code of shape {shape}" if spec.code_shape else f"a picture of {shape[1]} by {shape[2]} pixels"
    inputs = torch.zeros(1, *shape, device=network.device)
    try:
        with torch.no_grad():
            network.module(inputs if spec.code_shape else network.normalize(inputs))
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # the bug of whoever wrote or described the model
        raise ModelBroken(
            f"model {network.name!r} was built, but does not compute on {what}: {type(error).__name__}: {error}"[:400],
            metadata={"model": network.name},
        ) from error


def _restore(module: nn.Module, fresh: nn.Module, name: str) -> None:
    live = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    original = {**dict(fresh.named_parameters()), **dict(fresh.named_buffers())}
    damaged = sorted(live.keys() ^ original.keys())
    damaged += [key for key in live.keys() & original.keys() if live[key].shape != original[key].shape]
    if damaged:
        raise ModelBroken(
            f"model {name!r} was damaged beyond repair ({', '.join(damaged[:5])}); unload it when its runs have ended",
            reason="MODEL_DAMAGED",
            metadata={"model": name},
        )
    with torch.no_grad():
        for key, tensor in original.items():
            live[key].copy_(tensor)
