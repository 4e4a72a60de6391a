"""The technique under test, and what it is tried on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from convscope_sdk.conformance.check import NonConformity, NotConcerned
from convscope_sdk.conformance.networks import CLASSIFIERS
from convscope_sdk.conformance.pictures import FewPictures, photograph
from convscope_sdk.conformance.recording import Recording, record
from convscope_sdk.errors import TechniqueError
from convscope_sdk.events import Event
from convscope_sdk.image_sets.catalog import ImageSets
from convscope_sdk.image_sets.samples import SamplesSource
from convscope_sdk.inprocess import start

if TYPE_CHECKING:
    from convscope_sdk.images import ImageLike
    from convscope_sdk.network import Network
    from convscope_sdk.technique import Technique

__all__ = ["Subject"]

_REPEATED = ("steps", "samples", "iterations", "octaves", "passes")
_FEW = 3
_SEED = 7
_NOT_TRIED = {
    "generator": "it needs a generator; the kit's networks are classifiers",
}


class Subject:
    """A technique with small pictures, tiny networks, and parameters that keep its runs short.

    Args:
        technique: To be checked.
        params: Given to every run but those with defaults. Fields called `steps`, `samples`, `iterations`, `octaves`
            and `passes` are few unless they are named here.
        patience: Seconds that a run may take. One with defaults is closed then, and counts as running well so far.
    """

    def __init__(
        self, technique: Technique[Any], *, params: Mapping[str, Any] | None = None, patience: float = 5.0
    ) -> None:
        self.technique = technique
        self.params = {**_few(technique), **(params or {})}
        self.patience = patience
        self.networks = CLASSIFIERS
        self._recordings: dict[str, Recording] = {}

    def __repr__(self) -> str:
        return f"<Subject {self.technique.id}>"

    def stream(
        self,
        network: Network,
        image: ImageLike | None = None,
        *,
        seed: int = _SEED,
        params: Mapping[str, Any] | None = None,
    ) -> Iterator[Event]:
        """A run's events, its arguments checked by now.

        Args:
            network: What to look into.
            image: The kit's photograph where absent and needed.
            seed: Of its random numbers.
            params: Instead of those that keep runs short.
        """
        if image is None and "image" in self.technique.needs:
            image = photograph()
        extras: dict[str, ImageLike] = {role: photograph(40, 48) for role in self.technique.extra_images}
        chosen = self.params if params is None else params
        sets = ImageSets(sources=[FewPictures(), SamplesSource()]) if "image_set" in self.technique.needs else None
        return start(self.technique, network, image, extra_images=extras, image_sets=sets, seed=seed, params=chosen)

    def recording(self, name: str) -> Recording:
        """The first run on one of the kit's networks, with few steps, recorded once."""
        if name not in self._recordings:
            self.tried()
            network = CLASSIFIERS[name]()
            self._recordings[name] = record(
                self.technique, network, lambda: self.stream(network), patience=self.patience
            )
        return self._recordings[name]

    @cached_property
    def recordings(self) -> tuple[Recording, ...]:
        """The first run on each of the kit's networks; runs that were refused are among them.

        Raises:
            NotConcerned: the technique needs what the kit has not.
        """
        return tuple(self.recording(name) for name in CLASSIFIERS)

    @cached_property
    def finished(self) -> tuple[Recording, ...]:
        """Those of `recordings` that came to an end by themselves.

        Raises:
            NotConcerned: the technique needs what the kit has not.
            NonConformity: a run broke, or every network was refused.
        """
        whole = [recording.whole() for recording in self.recordings]
        for recording in whole:
            if recording.closed:
                raise NonConformity(
                    f"on {recording.network}, its run was not over after {self.patience:g} s; give the kit parameters "
                    f"that keep it short, such as a smaller size (params=…, or -p size=32)"
                )
        found = tuple(recording for recording in whole if recording.refusal is None)
        if not found:
            said = "; ".join(f"{recording.network}: {recording.refusal}" for recording in whole)
            raise NonConformity(f"it refuses every network of the kit: {said}")
        return found

    @cached_property
    def home(self) -> str:
        """The name of the first network that it does not refuse.

        Raises:
            NotConcerned: the technique needs what the kit has not.
            NonConformity: as `finished`.
        """
        for name in CLASSIFIERS:
            if self.recording(name).whole().refusal is None and not self.recording(name).closed:
                return name
        return self.finished[0].network

    def new_network(self) -> Network:
        """A new copy of `home`."""
        return CLASSIFIERS[self.home]()

    def tried(self) -> None:
        """Raises NotConcerned where the technique needs what the kit has not."""
        for need, why in _NOT_TRIED.items():
            if need in self.technique.needs:
                raise NotConcerned(why)


def _few(technique: Technique[Any]) -> dict[str, Any]:
    """Few steps, where the technique has a parameter for their number and allows it, and a set of few pictures."""
    found: dict[str, Any] = {}
    if "image_set" in technique.params.model_fields:
        found["image_set"] = FewPictures.name
    for name in _REPEATED:
        field = technique.params.model_fields.get(name)
        if field is None or not isinstance(field.default, int) or field.default <= _FEW:
            continue
        for count in (_FEW, field.default // 2):
            try:
                technique.params.parse({**found, name: count})
            except TechniqueError:
                continue
            found[name] = count
            break
    return found
