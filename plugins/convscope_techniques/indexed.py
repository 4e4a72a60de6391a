"""The index of an image set, behind which a run can be put down."""

from __future__ import annotations

from collections.abc import Collection, Generator
from typing import Any

from convscope_sdk.events import Event, Progress
from convscope_sdk.image_sets.image_set import ImageSet
from convscope_sdk.image_sets.index import Index
from convscope_sdk.run import Run

__all__ = ["indexed"]


def indexed(
    run: Run[Any], image_set: ImageSet, layers: Collection[str], *, further_steps: int = 0, **options: Any
) -> Generator[Event, None, Index]:
    """As `ImageSet.index`, then the state "image set", which stays open: a run is taken up with the same pictures only.

    Args:
        run: Keeps the state.
        image_set: What is looked at.
        layers: As `ImageSet.index`.
        further_steps: As there.
        **options: As there.

    Raises:
        InvalidImageSet: the pictures are others than when the run was put down.
        TechniqueError: as `ImageSet.index`.
    """
    index = yield from image_set.index(layers, further_steps=further_steps, **options)
    state = run.state("image set", digest=image_set.digest, told=False)
    image_set.check_is(state.digest)
    if not state.told:
        state.told = True
        yield Progress(len(image_set), len(image_set) + further_steps)
        yield state
    return index
