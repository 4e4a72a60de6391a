"""What a technique is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from convscope_sdk.errors import UnknownName
from convscope_sdk.events import Checkpoint
from convscope_sdk.params import Params
from convscope_sdk.state import Memory, State

if TYPE_CHECKING:
    import numpy as np
    import torch

    from convscope_sdk.image_sets.catalog import ImageSets
    from convscope_sdk.image_sets.image_set import ImageSet
    from convscope_sdk.network import Network

__all__ = ["Run"]

P = TypeVar("P", bound=Params)


def _no_models(name: str) -> Network:
    raise UnknownName.among("model", name, (), hint="this run has no further models; hand them over as models=")


@dataclass(frozen=True, slots=True)
class Run(Generic[P]):
    """One run of a technique. Attributes are only ever added to it.

    Attributes:
        network: The network to look into, in evaluation mode.
        image: The primary picture as the network sees it, RGB in [0, 1], float32, shape (1, 3, H, W), on
            `device`. Meaningful only for techniques that need "image".
        images: The further pictures by role, each RGB in [0, 1], (1, 3, h, w), in its own size.
        params: The parameters after defaults.
        rng: NumPy generator seeded with the run's seed; torch's, NumPy's and Python's global ones are seeded too.
        seed: The run's seed, 0 to 2**64 - 1.
        device: Where tensors live: "cpu", "cuda:0", "mps".
        open_model: What `model` asks.
        image_sets: What `image_set` opens.
        checkpoint: The training to go on with, where the run resumes one; None where the run itself is taken up,
            since its states then have what came after.
        thrift: How many times smaller inner batches are to be: more than 1 where the device ran out of memory before.
        memory: What `state` asks.
    """

    network: Network
    image: torch.Tensor
    params: P
    rng: np.random.Generator
    seed: int = 0
    device: str = "cpu"
    images: Mapping[str, torch.Tensor] = field(default_factory=dict)
    extras: Mapping[str, Any] = field(default_factory=dict)
    checkpoint: Checkpoint | None = None
    image_sets: ImageSets | None = None
    open_model: Callable[[str], Network] = field(default=_no_models, repr=False)
    thrift: int = 1
    memory: Memory = field(default_factory=Memory, repr=False)

    def state(self, name: str, /, **values: Any) -> State:
        """What the run keeps from here on, for a technique that is `resumable`; see `convscope_sdk.state`.

        Args:
            name: Of the state, of those open at a time.
            **values: Tensors, arrays, plain values, lists, tuples and dicts of them; and objects with `state_dict` and
                `load_state_dict`. Where the run goes on from a checkpoint, the state has the values from there.

        Raises:
            ValueError: a state of that name is open already.
            StateMismatch: the checkpoint is of other states.
        """
        return self.memory.open(name, values)

    def inner_batch(self, chosen: int) -> int:
        """How many pictures go through the network at once where `chosen` would, at least 1.

        It is fewer after the device ran out of memory. A technique with a parameter `batch` whose result does not
        depend on it is started again once, and asks here.
        """
        return max(1, chosen // self.thrift)

    def model(self, name: str) -> Network:
        """Another model of the catalog on the run's device, its own until it ends: a generator, a second opinion.

        The host loads it if need be, takes it back when the run ends in whatever way, and names its digest in the
        report. Ask for it outside of gradient rules and other modes. The same name gives the same network.

        Raises:
            UnknownName: there is no such model; carries near names.
            OutOfMemory: the device has no room for it beside the models in use.
            TechniqueError: it cannot be had; the message says what to do.
        """
        return self.open_model(name)

    def image_set(self, name: str, *, fit: str = "crop", size: int | None = None) -> ImageSet:
        """The image set of that name, as this run's network sees it.

        Args:
            name: A name from the catalog: `run.params.image_set`.
            fit: How its pictures become inputs: "crop", "resize" or "pad", as `ImageParams.fit`.
            size: Edge of the input in pixels; the network's own evaluation size where None.

        Raises:
            UnknownName: no such set; carries near names.
            TechniqueError: it cannot be had; the message says what to do.
        """
        from convscope_sdk.image_sets.catalog import ImageSets

        return (self.image_sets or ImageSets()).open(name, self.network, fit=fit, size=size)
