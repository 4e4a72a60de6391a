"""How much models may take, and how sizes are written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

__all__ = ["default_budget", "default_device_memory", "human_size", "machine_memory", "module_bytes"]

_CPU_PART = 4
_CUDA_PART = 0.6
_CUDA_USABLE = 0.95
_UNKNOWN_MEMORY = 8 << 30
_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def default_budget(device: str) -> int:
    """Bytes that models may take together: a quarter of this machine's memory, or 60 % of a CUDA device's.

    A container's memory limit counts as the machine's memory.
    """
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.get_device_properties(device).total_memory * _CUDA_PART)
    return machine_memory() // _CPU_PART


def default_device_memory(device: str) -> int:
    """Bytes that models and runs may take together: three quarters of the machine's, or 95 % of a CUDA device's."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.get_device_properties(device).total_memory * _CUDA_USABLE)
    return machine_memory() * 3 // 4


def machine_memory() -> int:
    """Bytes of this machine, or of the container where that has a limit."""
    return min(_physical_memory(), _container_limit())


def module_bytes(module: nn.Module) -> int:
    """Bytes of parameters and buffers."""
    tensors = (*module.parameters(), *module.buffers())
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def human_size(size: int) -> str:
    """A number of bytes for a person: "17.8 MiB"."""
    value = float(size)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:  # noqa: PLR2004 - by definition
            return f"{value:.4g} {unit}"
        value /= 1024
    return f"{value:.4g} GiB"


def _physical_memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return _UNKNOWN_MEMORY


def _container_limit() -> int:
    limits = [int(text) for text in map(_read, _CGROUP_LIMITS) if text.isdigit()]
    return min(limits, default=1 << 62)


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except OSError:
        return ""
