"""What one step of a technique must leave as it found it: random numbers, modes, and the network.

A run's random numbers are swapped in and out around each step (`RandomState`). Everything else is checked after
each step (`ModeGuard`, `NetworkGuard`): a technique that leaves a trace is told by name, and the trace is removed.
"""

from __future__ import annotations

import operator
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch._C import (
    _len_torch_dispatch_stack,
    _len_torch_function_stack,
    _pop_torch_function_stack,
)
from torch.utils._python_dispatch import _pop_mode as _pop_dispatch_mode

if TYPE_CHECKING:
    from torch import nn

__all__ = ["ModeGuard", "NetworkGuard", "RandomState"]


class RandomState:
    """The states of the random generators that a run sees: torch's, CUDA's, NumPy's and Python's."""

    __slots__ = ("_cuda", "_device", "_numpy", "_python", "_torch")

    def __init__(self, device: str | torch.device = "cpu") -> None:
        self._device = torch.device(device)
        self.capture()

    @classmethod
    def seeded(cls, seed: int, device: str | torch.device = "cpu") -> RandomState:
        """The states that `seed` (0 to 2**64 - 1) gives, without disturbing the present ones."""
        before = cls(device)
        torch.default_generator.manual_seed(seed)
        if before._on_cuda:
            torch.cuda.default_generators[before._index].manual_seed(seed)
        np.random.seed(np.random.SeedSequence(seed).generate_state(8))  # noqa: NPY002 - plugins use the global one
        random.seed(seed)
        seeded = cls(device)
        before.install()
        return seeded

    @property
    def _on_cuda(self) -> bool:
        return self._device.type == "cuda"

    @property
    def _index(self) -> int:
        index: int | None = self._device.index
        return torch.cuda.current_device() if index is None else index

    def capture(self) -> None:
        """Take over the present states."""
        self._torch = torch.default_generator.get_state()
        self._cuda = torch.cuda.default_generators[self._index].get_state() if self._on_cuda else None
        self._numpy: Any = np.random.get_state()  # noqa: NPY002 - plugins use the global one
        self._python = random.getstate()

    def install(self) -> None:
        """Make these the present states."""
        torch.default_generator.set_state(self._torch)
        if self._cuda is not None:
            torch.cuda.default_generators[self._index].set_state(self._cuda)
        np.random.set_state(self._numpy)  # noqa: NPY002 - plugins use the global one
        random.setstate(self._python)

    def state_dict(self) -> dict[str, Any]:
        """The states as tensors, arrays and plain values."""
        generator, keys, *rest = self._numpy
        numpy = {"generator": generator, "keys": keys, "rest": list(rest)}
        return {"torch": self._torch, "cuda": self._cuda, "numpy": numpy, "python": self._python}

    def load_state_dict(self, states: Mapping[str, Any]) -> None:
        """Be what `state_dict` gave; those of a device that is not there are left as they are."""
        numpy = states["numpy"]
        self._torch, self._python = states["torch"], states["python"]
        self._numpy = (numpy["generator"], numpy["keys"], *numpy["rest"])
        if self._on_cuda and states["cuda"] is not None:
            self._cuda = states["cuda"]

    def is_present(self) -> bool:
        """Whether the present states are these."""
        now = RandomState(self._device)
        if not torch.equal(self._torch, now._torch) or self._python != now._python:
            return False
        if self._cuda is not None and now._cuda is not None and not torch.equal(self._cuda, now._cuda):
            return False
        return all(np.array_equal(was, is_) for was, is_ in zip(self._numpy, now._numpy, strict=True))

    @contextmanager
    def swapped_in(self) -> Iterator[None]:
        """Within it these states are the present ones; afterwards they are where the block left them."""
        outside = RandomState(self._device)
        self.install()
        try:
            yield
        finally:
            self.capture()
            outside.install()


class ModeGuard:
    """The modes of the calling thread that a step may change only for itself."""

    __slots__ = ("_before", "_device")

    def __init__(self, device: str | torch.device = "cpu") -> None:
        self._device = torch.device(device).type
        self._before = self._read()

    def _read(self) -> dict[str, Any]:
        device = self._device
        return {
            "grad mode": torch.is_grad_enabled(),
            "inference mode": torch.is_inference_mode_enabled(),
            "autocast": torch.is_autocast_enabled(device),
            "autocast dtype": torch.get_autocast_dtype(device),
            "TorchFunctionMode stack": _len_torch_function_stack(),
            "TorchDispatchMode stack": _len_torch_dispatch_stack(),
            "default dtype": torch.get_default_dtype(),
            "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
            "number of threads": torch.get_num_threads(),
        }

    def leaks(self) -> list[str]:
        """Names of what is not as it was."""
        now = self._read()
        return [name for name, before in self._before.items() if now[name] != before]

    def restore(self) -> None:
        """Put everything back. Grad mode inside a leaked inference mode cannot outlive its generator's close."""
        before = self._before
        while _len_torch_function_stack() > before["TorchFunctionMode stack"]:
            _pop_torch_function_stack()
        while _len_torch_dispatch_stack() > before["TorchDispatchMode stack"]:
            _pop_dispatch_mode()
        torch.set_grad_enabled(before["grad mode"])
        torch.set_autocast_enabled(self._device, before["autocast"])
        torch.set_autocast_dtype(self._device, before["autocast dtype"])
        torch.set_default_dtype(before["default dtype"])
        # Only where it is needed: torch imports its compiler for it, which takes seconds.
        if torch.are_deterministic_algorithms_enabled() != before["deterministic algorithms"]:
            torch.use_deterministic_algorithms(before["deterministic algorithms"])
        if torch.get_num_threads() != before["number of threads"]:
            torch.set_num_threads(before["number of threads"])


_HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_state_dict_hooks",
)


class NetworkGuard:
    """What a module was like before a technique touched it: hooks, flags, structure and values.

    `leaks` is cheap enough for every step: values are told by version counters, which see every in-place
    operation, and by identity, which sees every replaced tensor. Writes through `.data` escape both;
    `values_changed` sees them too and reads every byte, so it is for the end of a run.
    """

    def __init__(self, module: nn.Module) -> None:
        self._modules = list(module.modules())
        self._hook_dicts = [getattr(m, name) for m in self._modules for name in _HOOKS]
        self._hooks = [dict(d) for d in self._hook_dicts]
        # Comparing dictionaries and mapping C functions over lists keeps a check of 300 tensors near 0.1 ms.
        self._children = [m._modules for m in self._modules if m._modules]
        self._children_before = [dict(d) for d in self._children]
        self._instances = [m.__dict__ for m in self._modules]
        self._forwards = [d.get("forward") for d in self._instances]
        self._training = [m.training for m in self._modules]
        self._slots = [d for m in self._modules for d in (m._parameters, m._buffers) if d]
        self._slots_before = [dict(d) for d in self._slots]
        self._tensors = [t for d in self._slots for t in d.values() if t is not None]
        self._requires_grad = [t.requires_grad for t in self._tensors]
        self._no_gradients = [None] * len(self._tensors)
        self._versions = [t._version for t in self._tensors]
        self._sums = self._read_sums()

    def _read_sums(self) -> list[int]:
        return [_checksum(t) for t in self._tensors]

    def _structure_differs(self) -> bool:
        if not _same(self._children, self._children_before):
            return True
        return [d.get("forward") for d in self._instances] != self._forwards

    def _tensors_differ(self) -> bool:
        return not _same(self._slots, self._slots_before) or list(map(_VERSION, self._tensors)) != self._versions

    def leaks(self) -> list[str]:
        """Names of what is not as it was; empty for a clean step."""
        found = []
        if not _same(self._hook_dicts, self._hooks):
            found.append("module hooks")
        if self._structure_differs():
            found.append("replaced modules")
        if list(map(_TRAINING, self._modules)) != self._training:
            found.append("train/eval flags")
        if list(map(_REQUIRES_GRAD, self._tensors)) != self._requires_grad:
            found.append("requires_grad flags")
        if list(map(_GRAD, self._tensors)) != self._no_gradients:
            found.append("parameter gradients")
        if self._tensors_differ():
            found.append("parameter values")
        return found

    def values_changed(self) -> bool:
        """Whether any parameter or buffer holds other bytes than before, however they were written."""
        return not _same(self._slots, self._slots_before) or self._read_sums() != self._sums

    def restore(self) -> None:
        """Put back hooks, structure, flags and tensors. Values written in place are the owner's to reload."""
        for dicts, before in (
            (self._hook_dicts, self._hooks),
            (self._children, self._children_before),
            (self._slots, self._slots_before),
        ):
            for now, was in zip(dicts, before, strict=True):
                now.clear()
                now.update(was)
        for instance, forward in zip(self._instances, self._forwards, strict=True):
            instance.pop("forward", None)
            if forward is not None:
                instance["forward"] = forward
        for module, training in zip(self._modules, self._training, strict=True):
            module.training = training
        for tensor, flag in zip(self._tensors, self._requires_grad, strict=True):
            tensor.requires_grad_(flag)
            tensor.grad = None

    def accept_values(self) -> None:
        """Take the present values for the right ones: after a reload."""
        self._versions = [t._version for t in self._tensors]
        self._sums = self._read_sums()


_VERSION = operator.attrgetter("_version")
_TRAINING = operator.attrgetter("training")
_REQUIRES_GRAD = operator.attrgetter("requires_grad")
_GRAD = operator.attrgetter("grad")
_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def _same(now: list[Any], before: list[Any]) -> bool:
    """Whether dictionaries hold the very same objects; `==` on them looks at identity first."""
    try:
        return now == before
    except RuntimeError:  # two different tensors were compared element by element
        return False


def _checksum(tensor: torch.Tensor) -> int:
    """Sum of the bits as whole numbers: one fast pass, and any change of a value changes it but for rare luck."""
    flat = tensor.detach()
    if flat.is_complex():
        flat = torch.view_as_real(flat)
    bits = flat.view(_INTEGERS[flat.element_size()])
    if bits.device.type != "cpu" or not bits.is_contiguous():
        return int(bits.sum(dtype=torch.int64))
    # NumPy adds 64 bits at a time where it can, and is four times as fast as torch over many small tensors.
    array = bits.numpy().reshape(-1)
    return int(np.add.reduce(array.view(np.int64) if array.nbytes % 8 == 0 else array, dtype=np.int64))
