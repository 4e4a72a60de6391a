"""Values that a run keeps between its steps, as plain JSON and a list of tensors, and back to the same bits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

__all__ = ["Packer", "Unpacker", "is_stateful"]

_PLAIN = (str, int, float, type(None))  # bool is an int
_SEQUENCES: Mapping[str, Callable[[list[Any]], Any]] = {"list": list, "tuple": tuple}


def is_stateful(value: object) -> bool:
    """Whether a value is kept by its own `state_dict` and `load_state_dict`, as torch's modules and optimizers are."""
    return callable(getattr(value, "state_dict", None)) and callable(getattr(value, "load_state_dict", None))


class Packer:
    """Takes values apart. What it gives shares no memory with them.

    Attributes:
        tensors: Those met so far, on the CPU, by number.
    """

    def __init__(self) -> None:
        self.tensors: dict[str, torch.Tensor] = {}

    def pack(self, value: object, where: str) -> Any:
        """The value as plain JSON that names its tensors; `where` it is, for errors.

        Raises:
            TypeError: nothing can be kept of such a value.
        """
        import numpy as np
        import torch

        if isinstance(value, np.generic | np.ndarray):
            return self._array(value, where)
        if isinstance(value, _PLAIN):
            return value
        if isinstance(value, torch.Tensor):
            return self._tensor(value)
        if is_stateful(value):
            return {"is": "stateful", "of": self.pack(dict(value.state_dict()), where)}  # type: ignore[attr-defined]  # just seen
        for name, kind in _SEQUENCES.items():
            if type(value) is kind:
                items: Any = value
                return {"is": name, "of": [self.pack(item, f"{where}[{i}]") for i, item in enumerate(items)]}
        if isinstance(value, Mapping):
            pairs = [[self.pack(key, where), self.pack(item, f"{where}[{key!r}]")] for key, item in value.items()]
            return {"is": "dict", "of": pairs}
        raise TypeError(
            f"{where} is a {type(value).__name__}, of which nothing can be kept; keep tensors, arrays, plain values, "
            f"lists, tuples and dicts of them, or an object with state_dict and load_state_dict"
        )

    def _tensor(self, value: torch.Tensor, **facts: Any) -> Any:
        import torch

        if value.requires_grad:
            facts["gradient"] = True
        value = value.detach()
        if value.device.type != "cpu":
            facts["device"] = True
        if _lies_otherwise(value):
            facts["strides"] = list(value.stride())  # how it lies decides which kernel runs, and so the last bit
        if value.is_complex():
            facts["complex"] = True
            value = torch.view_as_real(value.resolve_conj())
        name = str(len(self.tensors))
        self.tensors[name] = value.to("cpu", copy=True).contiguous()
        return {"is": "tensor", "of": name, **facts}

    def _array(self, value: Any, where: str) -> Any:
        import numpy as np
        import torch

        kind = "scalar" if isinstance(value, np.generic) else "array"
        try:
            tensor = torch.from_numpy(np.array(value, order="K"))
        except TypeError as error:
            raise TypeError(f"{where} is an array of {value.dtype}, of which nothing can be kept") from error
        return self._tensor(tensor, numpy=kind)


class Unpacker:
    """Puts together what `Packer` took apart.

    Args:
        tensors: By number.
        device: Where those belong that were not on the CPU.
    """

    def __init__(self, tensors: Mapping[str, torch.Tensor], device: str | torch.device) -> None:
        self._tensors = tensors
        self._device = device

    def unpack(self, packed: Any, first: object = None) -> Any:
        """The value; that of a stateful one is loaded into `first`, which is given.

        Raises:
            ValueError: it was packed from a value of another kind.
        """
        if not isinstance(packed, Mapping):
            return packed
        kind, content = packed["is"], packed["of"]
        if (kind == "stateful") != is_stateful(first):
            raise ValueError(f"a value was {kind}, and is {type(first).__name__} now")
        match kind:
            case "tensor":
                return self._tensor(packed)
            case "stateful":
                with _told("load_state_dict"):
                    first.load_state_dict(self.unpack(content))  # type: ignore[attr-defined]  # it is stateful
                return first
            case "dict":
                return {self.unpack(key): self.unpack(item) for key, item in content}
        return _SEQUENCES[kind](list(map(self.unpack, content)))

    def _tensor(self, packed: Mapping[str, Any]) -> Any:
        import torch

        value = self._tensors[packed["of"]].clone()
        if packed.get("complex"):
            value = torch.view_as_complex(value)
        if strides := packed.get("strides"):
            value = torch.empty_strided(value.shape, strides, dtype=value.dtype).copy_(value)
        if numpy := packed.get("numpy"):
            array = value.numpy()
            return array if numpy == "array" else array[()]
        if packed.get("device"):
            value = value.to(self._device)
        return value.requires_grad_(bool(packed.get("gradient")))


def _lies_otherwise(value: torch.Tensor) -> bool:
    """Whether its items lie side by side in another order than that of its axes: transposed, or channels last."""
    import torch

    if value.layout != torch.strided or value.stride() == torch.empty(value.shape, device="meta").stride():
        return False
    order = sorted(range(value.ndim), key=value.stride().__getitem__, reverse=True)
    return value.permute(order).is_contiguous()


@contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, RuntimeError, AttributeError) as error:
        raise ValueError(f"{what}: {error!r}"[:300]) from error
