"""Plugins' artifact encoders: what they write, and that one which fails or stalls ends its run alone."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from PIL import Image as PILImage

from convscope_sdk import ArtifactEncoder, Event, Image, ImageParams, Params, Progress, Run, Table, Tensor, technique
from convscope_sdk.render import Rendered
from convscope_server.runs import events as log
from support.workshop import Bench

GREY = np.full((8, 8), 0.5)


@technique("three")
def three(run: Run[Params]) -> Iterator[Event]:
    """One result of each of three kinds, and a step after them."""
    yield Image("grey", GREY)
    yield Tensor("grey", GREY)
    yield Table("grey", [{"value": 0.5}])
    yield Progress(1, 1)


@technique("looks", needs={"image"})
def looks(run: Run[ImageParams]) -> Iterator[Event]:
    """The picture again."""
    yield Image("again", run.image)


def webp(rendered: Rendered) -> bytes:
    buffer = io.BytesIO()
    assert isinstance(rendered.value, PILImage.Image)
    rendered.value.save(buffer, format="webp")
    return buffer.getvalue()


def raises(_: Rendered) -> bytes:
    raise ValueError("an encoder's bug")


def exits(_: Rendered) -> bytes:
    raise SystemExit(3)


def gives_text(_: Rendered) -> bytes:
    return "words"  # type: ignore[return-value]  # that is its bug


def hangs(_: Rendered) -> bytes:
    while True:
        time.sleep(0.01)


def stubborn(_: Rendered) -> bytes:
    end = time.monotonic() + 3
    while time.monotonic() < end:
        with contextlib.suppress(BaseException):  # that is its bug
            time.sleep(0.01)
    return b"at last"


def bench(encode: Callable[[Rendered], bytes], **options: float) -> Bench:
    return Bench(three, looks, encoders=[ArtifactEncoder("image/webp", "image", encode)], **options)


def results(house: Bench, run: str) -> dict[str, log.Artifact]:
    found = [event.artifact for event in house.log(run) if isinstance(event, log.Result)]
    return {f"{artifact.kind}:{artifact.name}": artifact for artifact in found}


def test_results_of_its_kind_are_written_by_the_encoder_and_all_others_by_the_host() -> None:
    house = bench(webp)
    house.start("a", "three", media_types=("image/webp",))
    house.start("b", "three")
    house.work()
    types = {name: artifact.media_type for name, artifact in results(house, "a").items()}
    assert types == {"image:grey": "image/webp", "tensor:grey": "application/x-npy", "table:grey": "application/json"}
    assert results(house, "a")["image:grey"].content == webp(Rendered("", "image", PILImage.new("L", (8, 8), 128)))
    assert (results(house, "a")["image:grey"].width, results(house, "a")["image:grey"].height) == (8, 8)
    assert results(house, "b")["image:grey"].media_type == "image/png"
    end = house.end("a")
    assert isinstance(end, log.Succeeded)
    assert end.report.provenance["encoders"] == {"image/webp": "acme-formats 2.3"}


def test_what_the_network_saw_stays_a_png_to_the_bit() -> None:
    house = bench(webp)
    buffer = io.BytesIO()
    PILImage.effect_noise((32, 32), 60).convert("RGB").save(buffer, format="png")
    house.start("a", "looks", media_types=("image/webp",), image=buffer.getvalue())
    house.work()
    made = results(house, "a")
    assert (made["image:input"].media_type, made["image:again"].media_type) == ("image/png", "image/webp")


@pytest.mark.parametrize("encode", [raises, exits, gives_text])
def test_an_encoder_that_fails_ends_its_run_alone_and_is_named_with_its_package(
    encode: Callable[[Rendered], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    house = bench(encode)
    house.start("bad", "three", media_types=("image/webp",))
    house.start("good", "three")
    house.work()
    error = house.error("bad")
    assert (error.code, error.reason) == ("INTERNAL", "ENCODER_FAILED")
    assert error.message.startswith("the encoder of image/webp (acme-formats 2.3) failed")
    assert error.metadata["package"] == "acme-formats"
    assert error.metadata["reference"] in caplog.text
    assert isinstance(house.end("good"), log.Succeeded)


@pytest.mark.parametrize("encode", [hangs, stubborn])
def test_an_encoder_that_never_ends_is_stopped_and_named(encode: Callable[[Rendered], bytes]) -> None:
    house = bench(encode, stall_seconds=0.5)
    house.start("bad", "three", media_types=("image/webp",))
    house.start("good", "three")
    house.work()
    error = house.error("bad")
    assert error.reason == "STEP_STALLED"
    assert "the encoder of image/webp (acme-formats 2.3)" in error.message
    assert isinstance(house.end("good"), log.Succeeded)


def test_a_media_type_that_nobody_writes_ends_the_run_with_those_near() -> None:
    house = bench(webp)
    house.start("a", "three", media_types=("image/webpp",))
    house.work()
    assert (house.error("a").code, house.error("a").metadata["near"]) == ("NOT_FOUND", "image/webp")
