"""Runs that are put down at one of their states."""

from __future__ import annotations

from typing import Any

from convscope_sdk.events import Event
from convscope_sdk.inprocess import start
from convscope_sdk.network import Network
from convscope_sdk.state import Memory, Saved
from convscope_sdk.technique import Technique
from support.collected import Collected

__all__ = ["put_down"]


def put_down(
    technique: Technique[Any], network: Network, image: Any = None, *, state: int, **options: Any
) -> tuple[Collected, Saved]:
    """What a run yields up to its state of that number, from 1, and what is kept of it there, as a file would have it.

    Args:
        technique: Of the run.
        network: What it looks into.
        image: Its picture.
        state: The number.
        **options: Of `start`.
    """
    kept: list[Saved] = []

    def keep(memory: Memory) -> None:
        kept.append(memory.save().by_way_of_json())

    events: list[Event] = []
    stream = start(technique, network, image, keep=keep, **options)
    for event in stream:
        if len(kept) >= state:
            break
        events.append(event)
    stream.close()
    return Collected(events), kept[state - 1]
