"""A technique: a generator function, its parameters, and what it needs."""

from __future__ import annotations

import inspect
import os
import re
import typing
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from convscope_sdk.events import Checkpoint, Event
from convscope_sdk.params import Params
from convscope_sdk.run import Run

if TYPE_CHECKING:
    from convscope_sdk.image_sets.catalog import ImageSets
    from convscope_sdk.images import ImageLike
    from convscope_sdk.network import Network

__all__ = ["ID", "NEEDS", "Technique", "technique"]

P = TypeVar("P", bound=Params)

ID = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)?")
"""The form of a technique id."""

NEEDS: Mapping[str, str] = {
    "image": "a primary picture",
    "gradients": "gradients of the network with respect to its input",
    "classes": "a network whose output is one logit for each class",
    "spatial_layer": "a layer whose output has positions",
    "image_set": "an image set",
    "generator": "a model of kind generator",
    "stylizer": "a model of kind stylizer",
}
"""Capabilities that a technique can declare, and what each means."""


@dataclass(frozen=True, slots=True)
class Technique(Generic[P]):
    """A technique as the host sees it.

    Attributes:
        id: What callers ask for.
        summary: First paragraph of its docstring.
        params: Its parameters, a subclass of `Params`.
        function: The generator function.
        needs: Keys of `NEEDS`.
        cites: The paper it follows.
        extra_images: Further pictures it takes, by role, with a description each.
        stall_seconds: Longest time one step may take before the host takes the worker for stuck.
        cacheable: Whether the events of one run may stand for those of another with the same arguments.
        batchable: Whether the host may answer what it asks for by `together` for several runs at once.
        resumable: Whether it yields its state, so that a run can be put down between steps and taken up elsewhere.
        steers: Parameters that may be others where it is taken up.
    """

    id: str
    summary: str
    params: type[P]
    function: Callable[[Run[P]], Iterator[Event]]
    needs: frozenset[str] = frozenset()
    cites: str = ""
    extra_images: Mapping[str, str] = field(default_factory=dict)
    stall_seconds: float = 120.0
    cacheable: bool = True
    batchable: bool = False
    resumable: bool = False
    steers: frozenset[str] = frozenset()

    def run(
        self,
        network: Network,
        image: ImageLike | None = None,
        *,
        extra_images: Mapping[str, ImageLike] | None = None,
        image_sets: ImageSets | Mapping[str, str | os.PathLike[str]] | None = None,
        seed: int = 0,
        models: Mapping[str, Network] | None = None,
        checkpoint: Checkpoint | None = None,
        **params: Any,
    ) -> Iterator[Event]:
        """The events of one run in this process; arguments are checked before the first of them.

        Args:
            network: What to look into.
            image: Path, bytes, PIL image, or array; required where the technique needs "image".
            extra_images: Further pictures by role.
            image_sets: Folders of pictures by the names that they are to have as image sets, beside `samples`; their
                indexes go with the run. Or a catalog that keeps them.
            seed: Seeds every random number of the run.
            models: Networks besides `network` that `run.model` gives, by name.
            checkpoint: The training to go on with, as an earlier run yielded it.
            **params: Parameters of the technique.

        Raises:
            InvalidParams: a parameter is unknown, of the wrong type or out of range.
            InvalidImage: a picture is missing or cannot be decoded.
        """
        from convscope_sdk.inprocess import start

        return start(
            self,
            network,
            image,
            extra_images=extra_images or {},
            image_sets=image_sets,
            seed=seed,
            params=params,
            models=models,
            checkpoint=checkpoint,
        )


def technique(
    identifier: str,
    *,
    needs: Collection[str] = (),
    cites: str = "",
    extra_images: Mapping[str, str] | None = None,
    stall_seconds: float = 120.0,
    cacheable: bool = True,
    batchable: bool = False,
    resumable: bool = False,
    steers: Collection[str] = (),
    params: type[Params] | None = None,
) -> Callable[[Callable[[Run[P]], Iterator[Event]]], Technique[P]]:
    """Makes a `Technique` of a generator function that takes one `Run[SomeParams]`.

    Args:
        identifier: Lower-case words joined by underscores; third parties prefix theirs: "vendor.name".
        needs: Keys of `NEEDS` that it relies on.
        cites: The paper it follows.
        extra_images: Further pictures it takes, by role, with a description each.
        stall_seconds: Longest time one step may take.
        cacheable: Whether a server may answer a request with the events of an earlier run of the same arguments. False
            for a technique that leaves something behind, such as a trained model, or that looks at something besides
            its arguments.
        batchable: It looks into the network by `yield from together(...)`, which the host may do for several runs at
            once.
        resumable: It opens a `run.state` and yields it in each step of its loop. A server then keeps checkpoints of its
            runs: they go on when their worker is lost, can be paused, and give way to more urgent ones.
        steers: Names of parameters that a caller may change while the run is under way: it is put down, and taken up
            with the new values. Only with `resumable`; what the state has depends on none of them.
        params: Its parameters, where the annotation cannot be read at run time.

    Raises:
        TypeError: the function is no generator function, has no docstring, or its parameters cannot be found.
        ValueError: the id, a need or a name in `steers` is not of the allowed form.
    """
    _check(identifier, needs, steers, resumable=resumable)

    def decorate(function: Callable[[Run[P]], Iterator[Event]]) -> Technique[P]:
        if not inspect.isgeneratorfunction(function):
            raise TypeError(f"technique {identifier!r} is a generator function: it yields its events")
        return Technique(
            id=identifier,
            summary=_summary(identifier, function),
            params=_steered(identifier, typing.cast("type[P]", params or _params_of(identifier, function)), steers),
            function=function,
            needs=frozenset(needs),
            cites=cites,
            extra_images=dict(extra_images or {}),
            stall_seconds=stall_seconds,
            cacheable=cacheable,
            batchable=batchable,
            resumable=resumable,
            steers=frozenset(steers),
        )

    return decorate


def _check(identifier: str, needs: Collection[str], steers: Collection[str], *, resumable: bool) -> None:
    if not ID.fullmatch(identifier):
        raise ValueError(f"a technique id is lower-case words, optionally vendor.name, not {identifier!r}")
    if unknown := set(needs) - NEEDS.keys():
        raise ValueError(f"unknown needs {sorted(unknown)}; there are {', '.join(NEEDS)}")

    if steers and not resumable:
        raise ValueError(f"technique {identifier!r}: only one that is resumable can be steered")


def _steered(identifier: str, params: type[P], steers: Collection[str]) -> type[P]:
    if strange := sorted(set(steers) - params.model_fields.keys()):
        raise ValueError(f"technique {identifier!r} steers {strange[0]!r}, which is none of its parameters")
    return params


def _summary(identifier: str, function: Callable[..., Any]) -> str:
    doc = inspect.getdoc(function)
    if not doc:
        raise TypeError(f"technique {identifier!r} needs a docstring: its first sentence is what users see")
    return " ".join(doc.split("\n\n", 1)[0].split())


def _params_of(identifier: str, function: Callable[..., Any]) -> type[Params]:
    """The P of `run: Run[P]`. Only this one annotation is evaluated, so the others may stay hidden from run time."""
    function = inspect.unwrap(function)  # the author's own, with the names that its annotations mean
    parameter = next(iter(inspect.signature(function).parameters.values()), None)
    annotation = None if parameter is None else parameter.annotation
    if isinstance(annotation, str):
        try:
            annotation = eval(annotation, getattr(function, "__globals__", {}))  # noqa: S307 - the author's own annotation
        except (NameError, AttributeError, TypeError, SyntaxError):
            annotation = None
    found = typing.get_args(annotation)
    if typing.get_origin(annotation) is Run and isinstance(found[0], type) and issubclass(found[0], Params):
        return found[0]
    raise TypeError(
        f"technique {identifier!r}: annotate its argument as Run[SomeParams], with SomeParams a module-level subclass "
        f"of Params, or pass @technique(..., params=SomeParams)"
    )
