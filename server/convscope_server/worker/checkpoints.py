"""The files that runs go on from, as their workers write and read them."""

from __future__ import annotations

import errno
import json
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from convscope_sdk.state import Saved

__all__ = ["Checkpoint", "CheckpointLostError", "Checkpoints"]

_HEADER = "convscope"
_NAME = "{run}-{moment:x}"


class CheckpointLostError(Exception):
    """A checkpoint is not there, or cannot be read."""


class Checkpoint(msgspec.Struct, frozen=True):
    """What a run needs to go on.

    Attributes:
        step: Where it is.
        made_by: Everything that must be the same for it to go on to the same bits: code, networks, kind of device.
        told: What its recorder had told by then.
        saved: Its states and random generators.
    """

    step: int
    made_by: dict[str, Any]
    told: dict[str, Any]
    saved: Saved


class Checkpoints:
    """A directory of safetensors files, each written once, and whole or not there.

    Args:
        directory: Where they are; "": a temporary one.
        spare: Bytes of the disk that are for others.
    """

    def __init__(self, directory: str, *, spare: int = 0) -> None:
        self._directory = Path(directory) if directory else None
        self._spare = spare

    def put(self, run: str, checkpoint: Checkpoint) -> str:
        """Keep a checkpoint of a run; gives the key to find it by.

        Raises:
            OSError, SafetensorError: there is no room for it, or it has more parts than such a file may.
            ValueError, RecursionError: no JSON can be made of it.
        """
        from safetensors.torch import save_file

        directory = self._made()
        size = sum(tensor.nbytes for tensor in checkpoint.saved.tensors.values())
        if shutil.disk_usage(directory).free - size < self._spare:
            raise OSError(errno.ENOSPC, f"{size:,} bytes would take what the disk keeps free", str(directory))
        key = _NAME.format(run=run, moment=time.time_ns())
        facts = {"step": checkpoint.step, "made_by": checkpoint.made_by, "told": checkpoint.told}
        header = json.dumps({**facts, "facts": checkpoint.saved.facts})
        fresh = directory / f".{key}.tmp"
        try:
            save_file(dict(checkpoint.saved.tensors), fresh, {_HEADER: header})
            fresh.replace(directory / key)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise
        return key

    def get(self, key: str) -> Checkpoint:
        """The checkpoint of that key.

        Raises:
            CheckpointLostError: there is none, or it cannot be read.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self._made() / Path(key).name, framework="pt") as file:
                header: Mapping[str, Any] = json.loads((file.metadata() or {})[_HEADER])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
            saved = Saved(header["facts"], tensors)
            return Checkpoint(int(header["step"]), header["made_by"], header["told"], saved)
        except (SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise CheckpointLostError(f"checkpoint {key} cannot be read: {error}"[:300]) from error

    def _made(self) -> Path:
        if self._directory is None:
            self._directory = Path(tempfile.mkdtemp(prefix="convscope-checkpoints-"))
        self._directory.mkdir(parents=True, exist_ok=True)
        return self._directory
