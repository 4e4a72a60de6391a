"""Checks of odd pictures, and of what a technique says that it needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from convscope_sdk.conformance.check import NonConformity, NotConcerned
from convscope_sdk.conformance.networks import flat, frozen, headless
from convscope_sdk.conformance.pictures import ODD_PICTURES
from convscope_sdk.conformance.recording import Recording, record
from convscope_sdk.conformance.results import assert_sound

if TYPE_CHECKING:
    from convscope_sdk.conformance.subject import Subject
    from convscope_sdk.images import ImageLike
    from convscope_sdk.network import Network

__all__ = ["check_needs_are_honest", "check_survives_odd_pictures"]

_CHOICES = ("target", "layer", "layers")
# A network that lacks what the need names.
_WITHOUT: dict[str, Callable[[], Network]] = {"gradients": frozen, "classes": headless, "spatial_layer": flat}


def check_survives_odd_pictures(subject: Subject) -> None:
    """Users have black, tiny, grey, transparent and broken pictures: each gives sound results or a typed refusal."""
    if "image" not in subject.technique.needs:
        raise NotConcerned("it looks at no picture")
    for name, make in ODD_PICTURES.items():
        network = subject.new_network()
        found = _recorded(subject, network, make())
        if found.error is not None:
            error = found.error
            raise NonConformity(
                f"a picture that is {name} makes it raise {type(error).__name__}: {error}; "
                f"refuse it with a TechniqueError"
            ) from error
        for event in found.events:
            try:
                assert_sound(event)
            except ValueError as error:
                raise NonConformity(f"a picture that is {name}: {type(event).__name__}: {error}") from error


def check_needs_are_honest(subject: Subject) -> None:
    """`needs` tells users beforehand what a technique works on: one that declares no need of gradients, classes or positions works without.

    A typed refusal is honest where the caller can choose another `target`, `layer` or `layers`.
    """  # noqa: E501 - the reason is one paragraph
    if not subject.looks_at_classifiers:
        raise NotConcerned("it is made for models of another kind than those that lack what needs name")
    can_choose = any(name in subject.technique.params.model_fields for name in _CHOICES)
    for need, make in _WITHOUT.items():
        if need in subject.technique.needs:
            continue
        network = make()
        found = _recorded(subject, network, None)
        failure = found.error or (None if can_choose else found.refusal)
        if failure is not None:
            raise NonConformity(
                f'it does not declare "{need}" and fails on a network without: {type(failure).__name__}: {failure}; '
                f'add "{need}" to needs'
            ) from failure


def _recorded(subject: Subject, network: Network, image: ImageLike | None) -> Recording:
    return record(subject.technique, network, lambda: subject.stream(network, image))
