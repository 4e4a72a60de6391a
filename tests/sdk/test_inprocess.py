from __future__ import annotations

import random
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image as PILImage
from pydantic import Field

from convscope_sdk import (
    Event,
    ImageParams,
    InvalidImage,
    InvalidParams,
    ModelSpec,
    Network,
    NotApplicable,
    Note,
    Params,
    Run,
    Scores,
    Tensor,
    UnknownName,
    technique,
)
from convscope_sdk.images import fit_image, to_tensor
from convscope_sdk.inprocess import prepare


class LookParams(ImageParams):
    """How to look."""

    steps: int = Field(3, ge=1, description="Steps.")


class NoiseParams(Params):
    """How much noise."""

    steps: int = Field(3, ge=1, description="Steps.")


@technique("look", needs={"image"}, extra_images={"style": "Whose look.", "mask": "Where."})
def look(run: Run[LookParams]) -> Iterator[Event]:
    """The picture itself."""
    for _ in range(run.params.steps):
        yield Tensor("seen", run.image)


@technique("noise")
def noise(run: Run[NoiseParams]) -> Iterator[Event]:
    """Numbers from every generator there is."""
    for _ in range(run.params.steps):
        drawn = (torch.rand(()).item(), np.random.rand(), random.random(), run.rng.random())
        yield Scores(dict(zip(("torch", "numpy", "python", "own"), drawn, strict=True)))


def network(**changes: Any) -> Network:
    spec = ModelSpec("tiny", "test", build=lambda: pytest.fail("not built"), **{"input_size": 32, **changes})
    return cast("Network", SimpleNamespace(spec=spec, device=torch.device("cpu")))


@pytest.fixture
def picture() -> PILImage.Image:
    return PILImage.fromarray(np.random.default_rng(0).integers(0, 255, (50, 80, 3), dtype=np.uint8))


def numbers(events: Iterator[Event]) -> list[dict[str, float]]:
    return [dict(event.values) for event in events if isinstance(event, Scores)]


def test_the_picture_is_cropped_as_the_network_evaluates(picture: PILImage.Image) -> None:
    prepared = prepare(look, network(), picture)
    assert prepared.input == fit_image(picture, network().spec, fit="crop", size=None)
    assert torch.equal(prepared.run.image, to_tensor(prepared.input))
    assert prepared.run.image.shape == (1, 3, 32, 32)
    assert prepared.notes == ()


def test_fit_and_size_of_the_parameters_are_followed(picture: PILImage.Image) -> None:
    prepared = prepare(look, network(), picture, params={"fit": "keep", "size": 64})
    assert prepared.run.image.shape == (1, 3, 40, 64)
    assert prepared.run.params == LookParams(fit="keep", size=64)


def test_parameters_may_come_ready_made(picture: PILImage.Image) -> None:
    params = LookParams(steps=7)
    assert prepare(look, network(), picture, params=params).run.params == params


def test_a_run_knows_its_seed_device_and_network(picture: PILImage.Image) -> None:
    lens = network()
    run = prepare(look, lens, picture, seed=2**64 - 1).run
    assert (run.seed, run.device, run.network) == (2**64 - 1, "cpu", lens)
    assert run.rng.random() == np.random.default_rng(2**64 - 1).random()


def test_extra_images_keep_their_own_size(picture: PILImage.Image) -> None:
    style = PILImage.new("RGBA", (20, 10), (255, 0, 0, 0))
    prepared = prepare(look, network(), picture, extra_images={"style": style})
    assert prepared.run.images["style"].shape == (1, 3, 10, 20)
    assert prepared.notes == ("style: transparent parts of the picture were laid on white",)


def test_an_extra_image_that_is_not_taken_is_refused_with_the_nearest(picture: PILImage.Image) -> None:
    with pytest.raises(UnknownName, match=r"'stile'; did you mean 'style'\?.*takes mask, style") as refusal:
        prepare(look, network(), picture, extra_images={"stile": picture})
    assert refusal.value.reason == "EXTRA_IMAGE_NOT_FOUND"


def test_a_missing_picture_is_refused_by_the_techniques_name() -> None:
    with pytest.raises(InvalidImage, match="'look'") as refusal:
        prepare(look, network())
    assert refusal.value.reason == "IMAGE_MISSING"


def test_a_technique_that_needs_no_picture_gets_a_batch_of_none() -> None:
    prepared = prepare(noise, network())
    assert prepared.run.image.shape == (0, 3, 0, 0)
    assert prepared.input is None


def test_a_picture_that_is_not_needed_is_given_all_the_same(picture: PILImage.Image) -> None:
    prepared = prepare(noise, network(), picture)
    assert prepared.run.image.shape == (1, 3, 32, 32)
    assert prepared.input == fit_image(picture, network().spec, fit="crop", size=None)


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, True, "7"])
def test_a_seed_out_of_range_is_refused(seed: Any) -> None:
    with pytest.raises(InvalidParams, match="seed") as refusal:
        prepare(noise, network(), seed=seed)
    assert [v.field for v in refusal.value.violations] == ["seed"]


def test_a_model_of_another_kind_is_refused() -> None:
    @technique("ask", needs={"classes"}, params=NoiseParams)
    def ask(run: Run[NoiseParams]) -> Iterator[Event]:
        """Something about classes."""
        yield Note("")

    with pytest.raises(NotApplicable, match="'tiny' is a stylizer"):
        prepare(ask, network(kind="stylizer"))
    assert prepare(ask, network(kind="classifier")).run.params == NoiseParams()


def test_the_limit_of_pixels_is_the_hosts(picture: PILImage.Image) -> None:
    with pytest.raises(InvalidImage, match="allowed"):
        prepare(look, network(), picture, max_pixels=100)


def test_arguments_are_checked_before_the_first_event(picture: PILImage.Image) -> None:
    with pytest.raises(InvalidParams):
        look.run(network(), picture, steps=0)
    with pytest.raises(InvalidImage):
        look.run(network())


def test_a_run_yields_what_the_technique_yields_after_the_notes(picture: PILImage.Image) -> None:
    events = list(look.run(network(), picture.convert("LA").convert("RGBA"), steps=2))
    assert [type(event) for event in events] == [Tensor, Tensor]
    see_through = PILImage.new("LA", (40, 40), (0, 0))
    assert isinstance(next(look.run(network(), see_through)), Note)


def test_the_same_seed_gives_the_same_numbers_whatever_runs_beside_it() -> None:
    alone = numbers(noise.run(network(), seed=5))
    interleaved = []
    for mine, _other in zip(noise.run(network(), seed=5), noise.run(network(), seed=6), strict=True):
        torch.rand(3), np.random.rand(3), random.random()
        interleaved.append(mine)
    assert numbers(iter(interleaved)) == alone
    assert numbers(noise.run(network(), seed=6)) != alone
    assert len({tuple(step.values()) for step in alone}) == 3


def test_a_run_leaves_the_callers_random_numbers_alone() -> None:
    def draw() -> tuple[float, ...]:
        return torch.rand(()).item(), np.random.rand(), random.random()

    def reseed() -> None:
        torch.manual_seed(1), np.random.seed(1), random.seed(1)

    reseed()
    expected = draw(), draw()
    reseed()
    first = draw()
    list(noise.run(network(), seed=3))
    assert (first, draw()) == expected


def test_closing_a_run_closes_the_technique_with_its_own_random_numbers() -> None:
    closed = []

    @technique("tidy", params=NoiseParams)
    def tidy(run: Run[NoiseParams]) -> Iterator[Event]:
        """Tidies up."""
        try:
            yield Note("working")
        finally:
            closed.append(torch.rand(()).item())

    events = tidy.run(network(), seed=3)
    next(events)
    before = torch.random.get_rng_state()
    cast("Any", events).close()
    assert len(closed) == 1
    assert torch.equal(torch.random.get_rng_state(), before)


def test_an_error_of_the_technique_reaches_the_caller_as_it_is() -> None:
    @technique("broken", params=NoiseParams)
    def broken(run: Run[NoiseParams]) -> Iterator[Event]:
        """Breaks."""
        yield Note("so far")
        raise ZeroDivisionError

    events = broken.run(network())
    assert next(events) == Note("so far")
    with pytest.raises(ZeroDivisionError):
        next(events)


@technique("second_opinion")
def second_opinion(run: Run[NoiseParams]) -> Iterator[Event]:
    """Which networks it was given."""
    yield Note(f"{run.model('tiny').spec.input_size}")
    yield Note(f"{run.model('other').spec.input_size}")


def test_further_models_are_handed_over_by_name_and_the_runs_own_is_among_them() -> None:
    events = list(second_opinion.run(network(), models={"other": network(input_size=64)}))
    assert events == [Note("32"), Note("64")]


def test_a_model_that_was_not_handed_over_is_refused_with_near_names() -> None:
    with pytest.raises(UnknownName, match="models=") as refusal:
        list(second_opinion.run(network(), models={"otter": network()}))
    assert refusal.value.metadata["near"] == "otter"
