"""State dicts: read from a file without running anything in it, and put into a module that they fit."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convscope_server.models.errors import ModelBroken

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["FORMATS", "load_state_dict", "read_state_dict"]

FORMATS = (".safetensors", ".pth")

_WRAPPERS = ("state_dict", "model")
_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")
_SHOWN = 5


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Tensors by name, on the CPU, from a .safetensors or .pth file.

    A .pth file may wrap them in {"state_dict": …} or {"model": …}; a "module." before every name is dropped.
    It is read with `weights_only=True`: nothing that a pickle asks to call is called.

    Raises:
        ModelBroken: reason PICKLE_REFUSED where the file holds more than tensors, else where it cannot be read.
    """
    if path.suffix == ".safetensors":
        return _named(path, _read_safetensors(path))
    return _named(path, _read_pth(path))


def _read_safetensors(path: Path) -> Any:
    import safetensors
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise ModelBroken(f"{path.name} cannot be read as safetensors: {error}") from error


def _read_pth(path: Path) -> Any:
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about the pickle protocol of a file that is refused next
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _pickle_refused(path, str(error)) from error
    except Exception as error:  # the file's fault: torch's readers raise anything on bytes that are none of theirs
        raise ModelBroken(f"{path.name} is no file that torch.save wrote, or is cut short: {error}"[:300]) from error


def _pickle_refused(path: Path, complaint: str) -> ModelBroken:
    wanted = _GLOBAL.search(complaint)
    what = f"it asks for {wanted[1]}" if wanted else "it has instructions that no tensor needs"
    return ModelBroken(
        f"{path.name} is refused: {what}, and unpickling that would run code from the file. Save the tensors alone: "
        f"torch.save(model.state_dict(), ...) or safetensors.torch.save_file(...)",
        reason="PICKLE_REFUSED",
    )


def _named(path: Path, content: Any) -> dict[str, Tensor]:
    import torch

    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
            break
    if not isinstance(content, Mapping) or not content:
        raise ModelBroken(f"{path.name} holds no state dict but {type(content).__name__}; save model.state_dict()")
    strangers = [
        str(key) for key, value in content.items() if not (isinstance(key, str) and isinstance(value, torch.Tensor))
    ]
    if strangers:
        raise ModelBroken(f"{path.name}: no named tensors under {_some(strangers)}; save model.state_dict() alone")
    parallel = all(key.startswith("module.") for key in content)
    return {key.removeprefix("module.") if parallel else key: value for key, value in content.items()}


def load_state_dict(module: nn.Module, state: Mapping[str, Tensor], *, file: str, architecture: str) -> None:
    """Copy `state` into `module`; every name and shape must fit.

    Raises:
        ModelBroken: it does not; the message has the first few names of each kind.
    """
    expected = module.state_dict()
    # Batch counters came later than batch norm itself: old files lack them, and evaluation does not look at them.
    missing = [k for k in expected if k not in state and not k.endswith("num_batches_tracked")]
    unexpected = [k for k in state if k not in expected]
    shapes = [
        f"{k} is {tuple(state[k].shape)}, not {tuple(expected[k].shape)}"
        for k in expected
        if k in state and state[k].shape != expected[k].shape
    ]
    found = (("missing", missing), ("not known", unexpected), ("of another shape", shapes))
    problems = "; ".join(f"{len(names)} {what}: {_some(names)}" for what, names in found if names)
    if problems:
        raise ModelBroken(
            f"{file} does not fit {architecture}: {problems}. Name the architecture that it was saved from; "
            f"the lines of the labels file say how many classes there are",
            reason="WEIGHTS_MISMATCH",
        )
    module.load_state_dict(dict(state), strict=False)


def _some(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
