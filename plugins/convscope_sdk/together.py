"""Passes through a network that several runs can share."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from convscope_sdk.network import Network

__all__ = ["Together", "answer_all", "side_by_side", "together"]

Answer = tuple[Any, ...]
_END = object()


@dataclass(frozen=True, slots=True, eq=False)
class Together:
    """A wish, yielded to the host: this function of these rows, alone or in one call with the rows of other runs.

    Attributes:
        function: Called with the network, the rows, and what must be the same.
        network: What it looks into.
        rows: Tensors with one row for each item in the first axis.
        same: Further arguments by name, plain values.
    """

    function: Callable[..., Sequence[Tensor]]
    network: Network
    rows: tuple[Tensor, ...]
    same: Mapping[str, Any]

    def fits(self, other: Together) -> bool:
        """Whether one call can answer both."""
        return (
            self.function is other.function
            and self.network is other.network
            and self.same == other.same
            and [(row.shape[1:], row.dtype) for row in self.rows] == [(row.shape[1:], row.dtype) for row in other.rows]
        )


def together(
    function: Callable[..., Sequence[Tensor]], network: Network, *rows: Tensor, **same: Any
) -> Generator[Any, Any, Answer]:
    """What `function(network, *rows, **same)` gives, a tuple; the host may call it once for the rows of several runs.

    In a technique that is `batchable`:

        logits, gradient = yield from together(sensitivity, run.network, run.image, target=run.params.target)

    Args:
        function: Of a module, not made anew for each run. Each row of each tensor that it gives depends on the same row
            of `rows` alone; it draws no random numbers, and leaves the network as it was.
        network: What it looks into.
        *rows: Tensors whose first axis counts items: (1, …) for one picture. Runs with rows of other shapes never meet.
        **same: Plain values. Runs in which they differ do not either.
    """
    wish = Together(function, network, rows, same)
    answer: Answer | None = yield wish
    return answer_all([wish])[0] if answer is None else answer


def answer_all(wishes: Sequence[Together]) -> list[Answer]:
    """What each of the wishes gets, from one call; they fit each other.

    Raises:
        TypeError: the function does not give tensors with a row for each row.
    """
    import torch

    first = wishes[0]
    counts = [len(wish.rows[0]) for wish in wishes]
    stacked = [torch.cat(parts) for parts in zip(*(wish.rows for wish in wishes), strict=True)]
    made = tuple(first.function(first.network, *stacked, **first.same))
    for each in made:
        if each.ndim == 0 or len(each) != sum(counts):
            raise TypeError(
                f"{first.function.__name__} gave a tensor of shape {tuple(each.shape)} for {sum(counts)} rows; "
                f"it gives a tuple of tensors with as many rows as it was given"
            )
    return list(zip(*(torch.split(each, counts) for each in made), strict=True))


def side_by_side(streams: Sequence[Generator[Any, Any, None]]) -> tuple[list[list[Any]], int]:
    """The events of runs that are stepped beside each other, and the largest number of wishes answered in one call.

    Args:
        streams: Runs that tell their wishes, such as `start(..., tells_wishes=True)`.
    """
    events: list[list[Any]] = [[] for _ in streams]
    wishes: dict[int, Together] = {}
    answers: dict[int, Answer] = {}
    live, largest = set(range(len(streams))), 0
    while live:
        for number in sorted(live - wishes.keys()):
            try:
                yielded = streams[number].send(answers.pop(number, None))
            except StopIteration:
                live.discard(number)
                continue
            if isinstance(yielded, Together):
                wishes[number] = yielded
            else:
                events[number].append(yielded)
        if live and live == wishes.keys():
            lead = wishes[min(wishes)]
            met = [number for number in sorted(wishes) if wishes[number].fits(lead)]
            largest = max(largest, len(met))
            answers |= dict(zip(met, answer_all([wishes.pop(number) for number in met]), strict=True))
    return events, largest
