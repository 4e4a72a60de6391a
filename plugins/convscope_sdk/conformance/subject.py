"""The technique under test, and what it is tried on."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from convscope_sdk.conformance.check import NonConformity
from convscope_sdk.conformance.networks import BY_NEED, CLASSIFIERS, painter
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
    from convscope_sdk.state import Memory, Saved
    from convscope_sdk.technique import Technique

__all__ = ["Subject"]

_REPEATED = ("steps", "samples", "iterations", "octaves", "passes")
_FEW = 3
_SEED = 7
_GENERATOR = "painter"


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
        self.networks = _networks(technique)
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
        tells_wishes: bool = False,
        saved: Saved | None = None,
        keep: Callable[[Memory], None] | None = None,
    ) -> Generator[Event, Any, None]:
        """A run's events, its arguments checked by now.

        Args:
            network: What to look into.
            image: The kit's photograph where absent and needed.
            seed: Of its random numbers.
            params: Instead of those that keep runs short.
            tells_wishes: Whether it yields what it asks for by `together`.
            saved: What it goes on from.
            keep: Called at each of its states.
        """
        if image is None and "image" in self.technique.needs:
            image = photograph()
        extras: dict[str, ImageLike] = {role: photograph(40, 48) for role in self.technique.extra_images}
        chosen = self.params if params is None else params
        sets = ImageSets(sources=[FewPictures(), SamplesSource()]) if "image_set" in self.technique.needs else None
        return start(
            self.technique,
            network,
            image,
            extra_images=extras,
            image_sets=sets,
            seed=seed,
            params=chosen,
            models={_GENERATOR: painter()} if _GENERATOR in chosen.values() else None,
            tells_wishes=tells_wishes,
            saved=saved,
            keep=keep,
        )

    def recording(self, name: str) -> Recording:
        """The first run on one of the kit's networks, with few steps, recorded once."""
        if name not in self._recordings:
            network = self.networks[name]()
            self._recordings[name] = record(
                self.technique, network, lambda: self.stream(network), patience=self.patience
            )
        return self._recordings[name]

    @cached_property
    def recordings(self) -> tuple[Recording, ...]:
        """The first run on each of the kit's networks; runs that were refused are among them."""
        return tuple(self.recording(name) for name in self.networks)

    @cached_property
    def finished(self) -> tuple[Recording, ...]:
        """Those of `recordings` that came to an end by themselves.

        Raises:
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
            NonConformity: as `finished`.
        """
        for name in self.networks:
            if self.recording(name).whole().refusal is None and not self.recording(name).closed:
                return name
        return self.finished[0].network

    def new_network(self) -> Network:
        """A new copy of `home`."""
        return self.networks[self.home]()

    @property
    def looks_at_classifiers(self) -> bool:
        """Whether it takes networks of the usual kind."""
        return self.networks is CLASSIFIERS


def _networks(technique: Technique[Any]) -> Mapping[str, Callable[[], Network]]:
    """What the technique is tried on."""
    return next((networks for need, networks in BY_NEED.items() if need in technique.needs), CLASSIFIERS)


def _few(technique: Technique[Any]) -> dict[str, Any]:
    """Few steps, few pictures and a small generator, where the technique has a parameter for them and allows it."""
    found: dict[str, Any] = {}
    if "image_set" in technique.params.model_fields:
        found["image_set"] = FewPictures.name
    if "generator" in technique.params.model_fields:
        found["generator"] = _GENERATOR
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
