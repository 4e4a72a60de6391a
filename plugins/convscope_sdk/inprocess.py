"""From what a caller says to a `Run`, and the stepping of one in this process."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
from PIL import Image

from convscope_sdk.errors import FieldViolation, InvalidImage, InvalidParams, NotApplicable, UnknownName
from convscope_sdk.events import Checkpoint, Event, Note
from convscope_sdk.image_sets.catalog import ImageSets
from convscope_sdk.images import MAX_PIXELS, ImageLike, fit_image, open_image, to_tensor
from convscope_sdk.models import ModelKind, ModelSpec
from convscope_sdk.params import ImageParams, Params
from convscope_sdk.run import Run
from convscope_sdk.state import Memory, Saved, State
from convscope_sdk.technique import Technique
from convscope_sdk.together import Together
from convscope_sdk.training import TrainingParams

if TYPE_CHECKING:
    import torch

    from convscope_sdk.network import Network

__all__ = ["Prepared", "prepare", "start"]

P = TypeVar("P", bound=Params)

_KIND_NEEDED: Mapping[str, ModelKind] = {
    "classes": "classifier",
    "generator": "generator",
    "stylizer": "stylizer",
}


@dataclass(frozen=True, slots=True)
class Prepared:
    """A run ready to step.

    Attributes:
        run: What the technique's function is called with.
        input: The exact 8-bit pixels of `run.image`; None where no picture was given.
        notes: What was done to the pictures that the reader of a result should know.
    """

    run: Run[Any]
    input: Image.Image | None
    notes: tuple[str, ...] = ()


def prepare(
    technique: Technique[P],
    network: Network,
    image: ImageLike | None = None,
    *,
    extra_images: Mapping[str, ImageLike] | None = None,
    image_sets: ImageSets | Mapping[str, str | os.PathLike[str]] | None = None,
    seed: int = 0,
    params: Mapping[str, Any] | Params | None = None,
    max_pixels: int = MAX_PIXELS,
    open_model: Callable[[str], Network] | None = None,
    checkpoint: Checkpoint | None = None,
    saved: Saved | None = None,
    taken_up: Callable[[], None] = lambda: None,
) -> Prepared:
    """The run that a request describes, every argument checked; the network is not yet asked anything.

    A picture is brought to the network's size by the parameters `fit` and `size` where the technique has
    them, else cropped as the network's own evaluation does. Without one, `run.image` has shape (0, 3, 0, 0):
    a batch of no pictures. Extra images keep their own size. `open_model` gives further networks by name; where
    absent there is the run's own. A run that goes on from what was `saved` calls `taken_up` when it is there.

    Raises:
        InvalidParams: a parameter, or the seed, is unknown, of the wrong type or out of range.
        InvalidImage: a picture is missing or cannot be read.
        UnknownName: the technique takes no extra image in that role.
        NotApplicable: the technique needs another kind of model.
    """
    parsed = technique.params.parse(dict(params or {}))
    if saved is not None:  # which is further than what it began with
        checkpoint = None
    else:
        _check_checkpoint(parsed, checkpoint)
    _check_seed(seed)
    _check_kind(technique, network.spec)
    if image is None and "image" in technique.needs:
        raise InvalidImage(f"technique {technique.id!r} looks at a picture: give it an image", reason="IMAGE_MISSING")
    extras, notes = _open_extras(technique, extra_images or {}, max_pixels)
    picture = None
    if image is not None:
        opened = open_image(image, max_pixels=max_pixels)
        picture, notes = _fit(opened.picture, network.spec, parsed), [*opened.notes, *notes]
    rng = np.random.default_rng(seed)
    run = Run(
        network=network,
        image=_no_picture(network.device) if picture is None else to_tensor(picture, network.device),
        params=parsed,
        rng=rng,
        seed=seed,
        device=str(network.device),
        images={role: to_tensor(extra, network.device) for role, extra in extras.items()},
        open_model=open_model or _opener(network, {}),
        image_sets=_image_sets(technique, image_sets, max_pixels),
        checkpoint=checkpoint,
        memory=Memory(rng, network.device, saved, taken_up),
    )
    return Prepared(run, picture, tuple(notes))


def start(
    technique: Technique[P],
    network: Network,
    image: ImageLike | None = None,
    *,
    extra_images: Mapping[str, ImageLike] | None = None,
    image_sets: ImageSets | Mapping[str, str | os.PathLike[str]] | None = None,
    seed: int = 0,
    params: Mapping[str, Any] | Params | None = None,
    models: Mapping[str, Network] | None = None,
    checkpoint: Checkpoint | None = None,
    tells_wishes: bool = False,
    saved: Saved | None = None,
    keep: Callable[[Memory], None] | None = None,
) -> Generator[Event, Any, None]:
    """The events of one run in this process, with what `prepare` noted in front of them.

    Arguments are checked before this returns; the technique's code runs as the iterator is advanced, with the
    run's own random numbers, and is closed with it. What it asks for by `together` it gets at once; where
    `tells_wishes` is set they are yielded too, and answered by whoever sends something. Its states are not told; where
    `keep` is given it is called at each of them, with the run's random numbers in place. A run that goes on from what
    was `saved` gives the events from there on.

    Raises:
        TechniqueError: as `prepare`.
    """
    opener = _opener(network, models or {})
    prepared = prepare(
        technique,
        network,
        image,
        extra_images=extra_images,
        image_sets=image_sets,
        seed=seed,
        params=params,
        open_model=opener,
        checkpoint=checkpoint,
        saved=saved,
    )
    return _events(technique, prepared, keep, tells_wishes=tells_wishes)


def _events(
    technique: Technique[Any], prepared: Prepared, keep: Callable[[Memory], None] | None, *, tells_wishes: bool
) -> Generator[Event, Any, None]:
    from convscope_sdk.isolation import RandomState

    memory = prepared.run.memory
    if not memory.pending:
        yield from map(Note, prepared.notes)
    random = RandomState.seeded(prepared.run.seed, prepared.run.device)
    # Authors annotate an Iterator; the decorator has checked that it is a generator.
    steps = cast("Generator[Event, Any, None]", technique.function(prepared.run))
    answer = None
    try:
        while True:
            try:
                with random.swapped_in():
                    event = steps.send(answer)
                    while isinstance(event, State):
                        if keep is not None and not memory.pending:
                            keep(memory)
                        event = next(steps)
            except StopIteration:
                return
            answer = None
            if not memory.pending and (tells_wishes or not isinstance(event, Together)):
                answer = yield event
    finally:
        with random.swapped_in():
            steps.close()


def _opener(network: Network, models: Mapping[str, Network]) -> Callable[[str], Network]:
    """Gives the run's own network and those handed over, by name."""
    known = {network.spec.name: network, **models}

    def open_model(name: str) -> Network:
        if name not in known:
            raise UnknownName.among("model", name, known, hint="hand it over as models={name: network}")
        return known[name]

    return open_model


def _check_seed(seed: object) -> None:
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**64:
        text = f"a seed is a whole number from 0 to 2**64 - 1, not {seed!r}"
        raise InvalidParams(text, violations=[FieldViolation("seed", text)])


def _check_checkpoint(params: Params, checkpoint: Checkpoint | None) -> None:
    if isinstance(params, TrainingParams) and params.resume and checkpoint is None:
        text = f"there is no training called {params.resume!r} at hand; hand its last Checkpoint over as checkpoint="
        raise InvalidParams(text, violations=[FieldViolation("params.resume", text)])


def _check_kind(technique: Technique[Any], spec: ModelSpec) -> None:
    for need, kind in _KIND_NEEDED.items():
        if need in technique.needs and spec.kind != kind:
            raise NotApplicable(
                f"technique {technique.id!r} needs a model of kind {kind}; {spec.name!r} is a {spec.kind}: take "
                f"one that `convscope models` lists as a {kind}",
                metadata={"needs": kind, "kind": spec.kind},
            )


def _open_extras(
    technique: Technique[Any], images: Mapping[str, ImageLike], max_pixels: int
) -> tuple[dict[str, Image.Image], list[str]]:
    pictures, notes = {}, []
    for role, image in images.items():
        if role not in technique.extra_images:
            takes = ", ".join(sorted(technique.extra_images)) or "none"
            hint = f"technique {technique.id!r} takes {takes}"
            raise UnknownName.among("extra image", role, technique.extra_images, hint=hint)
        opened = open_image(image, max_pixels=max_pixels)
        pictures[role] = opened.picture
        notes += [f"{role}: {note}" for note in opened.notes]
    return pictures, notes


def _image_sets(
    technique: Technique[Any], given: ImageSets | Mapping[str, str | os.PathLike[str]] | None, max_pixels: int
) -> ImageSets | None:
    if "image_set" not in technique.needs:
        return None
    if isinstance(given, ImageSets):
        return given
    return ImageSets(given, max_pixels=max_pixels)


def _fit(picture: Image.Image, spec: ModelSpec, params: Params) -> Image.Image:
    if isinstance(params, ImageParams):
        return fit_image(picture, spec, fit=params.fit, size=params.size)
    return fit_image(picture, spec, fit="crop", size=None)


def _no_picture(device: str | torch.device) -> torch.Tensor:
    import torch

    return torch.empty((0, 3, 0, 0), device=device)
