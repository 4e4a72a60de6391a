"""How much memory the worker holds, and how much a run may."""

from __future__ import annotations

import os
import resource
import sys
from contextlib import suppress
from pathlib import Path

import torch

from convscope_server.models.memory import machine_memory

__all__ = ["Memory", "default_run_memory", "offer_to_the_killer"]

_PAGE = os.sysconf("SC_PAGE_SIZE")
_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024
_RESIDENT = 1


def default_run_memory(device: str) -> int:
    """Bytes that a run may take where nobody said: half of the machine's, and all of its CUDA device's."""
    own = torch.cuda.get_device_properties(device).total_memory if device.startswith("cuda") else 0
    return machine_memory() // 2 + own


def offer_to_the_killer() -> None:
    """Where the machine has no memory left, let Linux end this process before the front end or anybody else."""
    with suppress(OSError):  # no Linux
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")


class Memory:
    """Bytes that this process holds: resident on the machine, and allocated on its device."""

    def __init__(self, device: str) -> None:
        self._device = torch.device(device)
        try:
            self._statm = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # no Linux: the most that was ever resident stands for what is
            self._statm = -1

    def __del__(self) -> None:
        if self._statm >= 0:
            os.close(self._statm)

    def held(self) -> int:
        """Now. Takes some microseconds; from any thread."""
        return self._resident() + self._allocated()

    def _resident(self) -> int:
        if self._statm < 0:
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS_UNIT
        return int(os.pread(self._statm, 128, 0).split()[_RESIDENT]) * _PAGE

    def _allocated(self) -> int:
        if self._device.type == "cuda":
            return torch.cuda.memory_allocated(self._device)
        return torch.mps.current_allocated_memory() if self._device.type == "mps" else 0
