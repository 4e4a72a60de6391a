from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import convscope
from convscope import _reconnect
from convscope._record import Record
from convscope.events import Frame, RunEvent
from convscope.testing import (
    FakeServer,
    checkpointed,
    failed,
    image,
    note,
    paused,
    preview,
    progress,
    queued,
    started,
    succeeded,
    table,
    tensor,
    text,
    updated,
)
from support.grpc_fake import serving

RED = Image.new("RGB", (20, 10), "red")
STEPS = 12


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_reconnect.Backoff, "wait", lambda *_: 0.0)


def scripted(script: Any = None) -> FakeServer:
    server = FakeServer()
    server.add_technique("saliency", script or [event for step in range(1, STEPS + 1) for event in one_step(step)])
    return server


def one_step(step: int) -> list[Any]:
    return [progress(step, STEPS, objective=step / 2), preview(RED, step=step)]


def sequences(run: convscope.Run) -> list[int]:
    return [event.sequence for event in run]


EVENTS = 2 + 2 * STEPS + 1


def test_a_run_is_iterated_from_accepted_to_its_end() -> None:
    run = scripted().client().visualize("saliency", image=RED)
    events = list(run)
    assert [event.kind for event in events[:4]] == ["accepted", "started", "progress", "preview"]
    assert events[-1].kind == run.state == "succeeded"
    assert [event.sequence for event in events] == list(range(1, EVENTS + 1))
    assert events[2].progress == convscope.Progress(1, STEPS, {"objective": 0.5}, None)


def test_previews_are_decoded_only_when_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    run = scripted().client().visualize("saliency")
    real = Image.open
    monkeypatch.setattr(Image, "open", lambda *args, **kwargs: opened.append(args) or real(*args, **kwargs))
    events = list(run)
    assert opened == []
    frame = next(event for event in events if event.kind == "preview").preview
    assert frame is not None
    assert frame.size == RED.size
    assert len(opened) == 1


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, EVENTS), max_size=20))
def test_streams_that_are_cut_anywhere_lose_and_repeat_nothing(cuts: list[int]) -> None:
    server = scripted()
    server.cuts.extend(cuts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_reconnect.Backoff, "wait", lambda *_: 0.0)
        assert sequences(server.client().visualize("saliency")) == list(range(1, EVENTS + 1))
        server.cuts.extend(cuts)
        assert asyncio.run(_async_sequences(server)) == list(range(1, EVENTS + 1))
    assert len(server.client().runs()) == 2, "a request that was sent again made a second run"


async def _async_sequences(server: FakeServer) -> list[int]:
    async with server.async_client() as client:
        return [event.sequence async for event in await client.visualize("saliency")]


def test_a_real_connection_that_is_cut_loses_and_repeats_nothing() -> None:
    server = scripted()
    server.cuts.extend([0, 0, 5, 1, 0, 9])
    with serving(server) as port, convscope.connect(f"127.0.0.1:{port}") as client:
        assert sequences(client.visualize("saliency", image=RED)) == list(range(1, EVENTS + 1))
    assert len({request.request_id for request in server.sent("Visualize")}) == 1
    assert len(server.sent("Visualize")) == 3
    assert server.sent("WatchRun")[0].after_sequence == 5


def test_a_real_connection_that_is_cut_loses_and_repeats_nothing_under_asyncio() -> None:
    server = scripted()
    server.cuts.extend([0, 4, 1])

    async def watch(port: int) -> list[int]:
        async with convscope.aio.connect(f"127.0.0.1:{port}") as client:
            return [event.sequence async for event in await client.visualize("saliency", image=RED)]

    with serving(server) as port:
        assert asyncio.run(watch(port)) == list(range(1, EVENTS + 1))


def test_a_server_that_goes_away_and_comes_back_is_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_reconnect.Backoff, "wait", lambda *_: 0.05)
    server = scripted()
    with serving(server) as port:
        client = convscope.connect(f"127.0.0.1:{port}")
        run = client.visualize("saliency", detach=True)
    seen: list[int] = []
    thread = threading.Thread(target=lambda: seen.extend(sequences(run)))
    thread.start()
    time.sleep(0.3)
    assert thread.is_alive()
    with serving(server, port):
        thread.join(20)
    assert seen == list(range(1, EVENTS + 1))
    client.close()


def test_a_server_that_stays_away_is_given_up_with_a_way_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    server = scripted()
    client = server.client(give_up_after=0.2)
    run = client.visualize("saliency")
    server.cuts.extend([0] * 100)
    run.close()
    with pytest.raises(convscope.ConnectionLost, match="attach") as lost:
        run.result()
    assert lost.value.run_id == run.id
    server.cuts.clear()
    assert sequences(client.attach(run.id))[-1] == EVENTS


def test_a_result_has_everything_that_the_run_made() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    script = [
        image("saliency", RED, caption="where"),
        tensor("saliency", array),
        table("top", [{"label": "cat", "p": 0.5}]),
        text("words", "ein Wörtchen"),
        note("57 of 57"),
        succeeded({"loss": 0.25}, notes=["57 of 57"], provenance={"seed": 7}, predictions=[(281, "tabby", 0.5)]),
    ]
    result = scripted(script).client().visualize("saliency").result()
    assert result.images["saliency"].getpixel((0, 0)) == (255, 0, 0)
    np.testing.assert_array_equal(result.tensors["saliency"], array)
    assert result.tables == {"top": [{"label": "cat", "p": 0.5}]}
    assert result.texts == {"words": "ein Wörtchen"}
    assert result.report.scores == {"loss": 0.25}
    assert list(result.report.notes) == ["57 of 57"]
    assert result.report.provenance == {"seed": 7}
    assert result.report.predictions[0] == convscope.Prediction(281, "tabby", 0.5)


def test_a_run_that_was_iterated_in_part_still_gives_its_whole_result() -> None:
    run = scripted([image("first", RED), progress(1), image("second", RED)]).client().visualize("saliency")
    for event in run:
        if event.kind == "progress":
            break
    later = []
    assert set(run.result(on_event=later.append).images) == {"first", "second"}
    assert [event.kind for event in later] == ["result", "succeeded"]
    assert list(run) == []


def test_attaching_in_the_middle_still_gives_the_whole_result() -> None:
    server = scripted([image("first", RED), progress(1), image("second", RED)])
    client = server.client()
    run = client.attach(client.visualize("saliency", detach=True).id, after_sequence=4)
    assert run.sequence == 4
    assert set(run.result().images) == {"first", "second"}


def test_a_failed_run_ends_iteration_quietly_and_raises_from_result() -> None:
    script = [failed("NOT_FOUND", "no layer 'x'", reason="LAYER_NOT_FOUND", metadata={"near": "y"})]
    run = scripted(script).client().visualize("saliency")
    assert [event.kind for event in run][-1] == "failed"
    with pytest.raises(convscope.RunFailed, match="no layer 'x'") as error:
        run.result()
    assert isinstance(error.value, convscope.NotFound)
    assert (error.value.code, error.value.reason) == ("NOT_FOUND", "LAYER_NOT_FOUND")
    assert error.value.metadata == {"near": "y"}
    assert error.value.run_id == run.id


def test_a_cancelled_run_says_so() -> None:
    run = scripted().client().visualize("saliency")
    next(run)
    run.cancel()
    assert len(list(run)) < EVENTS
    with pytest.raises(convscope.RunCancelled, match="somebody asked for it"):
        run.result()
    assert run.refresh().state == "cancelled"


def _slowly(request: Any) -> Iterator[Any]:
    yield progress(1, 2)
    time.sleep(0.4)
    yield image("late", RED)


def test_a_result_that_is_not_there_in_time_can_be_asked_for_again() -> None:
    server = scripted(_slowly)
    run = server.client().visualize("saliency")
    with pytest.raises(convscope.DeadlineExceeded, match="goes on"):
        run.result(timeout=0.1)
    with pytest.raises(TimeoutError):
        run.result(timeout=0.0)
    assert "late" in run.result(timeout=20).images
    assert server.sent("WatchRun") == [], "the stream was given up"


def test_a_result_that_is_not_there_in_time_can_be_awaited_again() -> None:
    async def watch(port: int) -> convscope.Result:
        async with convscope.aio.connect(f"127.0.0.1:{port}") as client:
            run = await client.visualize("saliency")
            with pytest.raises(convscope.DeadlineExceeded, match="goes on"):
                await run.result(timeout=0.1)
            return await run.result(timeout=20)

    server = scripted(_slowly)
    with serving(server) as port:
        assert "late" in asyncio.run(watch(port)).images
    assert server.sent("WatchRun") == [], "the stream was given up"


def test_a_run_that_starts_again_forgets_what_came_before() -> None:
    again = image("old", RED).__class__()
    again.started.device, again.started.attempt = "cpu", 2
    script = [image("old", RED), preview(RED, step=1), again, image("new", RED)]
    result = scripted(script).client().visualize("saliency").result()
    assert set(result.images) == {"new"}
    assert list(result.previews) == []


def test_a_run_says_where_it_goes_on_and_what_has_changed() -> None:
    script = [progress(2, 9), checkpointed(2), updated(2, step_size=0.5, layer="b.2"), paused(), queued(), started(2)]
    run = scripted(script).client().visualize("saliency")
    events = {event.kind: event for event in run if event.sequence > 2}
    assert events["checkpointed"].step == events["updated"].step == events["started"].step == 2
    assert events["updated"].params == {"step_size": 0.5, "layer": "b.2"}


def test_the_state_of_a_run_follows_it_off_its_device_and_back() -> None:
    run = scripted([progress(1), paused(), queued(), started(1), progress(2)]).client().visualize("saliency")
    states = [(event.kind, run.state) for event in run]
    assert states[2:7] == [
        ("progress", "running"),
        ("paused", "paused"),
        ("queued", "queued"),
        ("started", "running"),
        ("progress", "running"),
    ]


def test_a_run_is_paused_and_resumed_while_it_is_watched() -> None:
    server = FakeServer()
    steps = [event for step in range(1, STEPS + 1) for event in one_step(step)]
    server.add_technique("dream", steps, resumable=True, steers=["tv"])
    with serving(server) as port, convscope.connect(f"127.0.0.1:{port}") as client:
        run = client.visualize("dream")
        kinds = []
        for event in run:
            kinds.append(event.kind)
            if event.progress is not None and event.progress.step == 3 and run.state == "running":
                run.pause()
            if event.kind == "paused":
                run.update(tv=0.5)
                threading.Timer(0.2, run.resume).start()
    assert kinds[-1] == "succeeded"
    place = kinds.index("paused")
    assert kinds[place : place + 4] == ["paused", "queued", "started", "updated"]
    assert kinds.count("progress") == STEPS


def frame(step: int, shade: int) -> list[Any]:
    return [progress(step, 9), preview(Image.new("L", (4, 4), shade))]


def shades(result: convscope.Result) -> list[tuple[int, Any]]:
    return [(kept.step, kept.image.getpixel((0, 0))) for kept in result.previews]


def test_frames_that_are_made_again_take_the_place_of_those_before() -> None:
    made, again = [10, 20, 30, 40], [35, 45]
    script: list[Any] = [event for step, shade in enumerate(made, 1) for event in frame(step, shade)]
    script += [image("kept", RED), started(2, attempt=2)]
    script += [event for step, shade in enumerate(again, 3) for event in frame(step, shade)]
    result = scripted(script).client().visualize("saliency").result()
    assert shades(result) == [(1, 10), (2, 20), (3, 35), (4, 45)]
    assert set(result.images) == {"kept"}


def test_frames_do_not_jump_back_where_a_checkpoint_was_of_no_use_after_all() -> None:
    script = [*frame(1, 10), *frame(2, 20), *frame(3, 30), started(2), note("from the beginning"), *frame(1, 15)]
    result = scripted([*script, *frame(2, 25)]).client().visualize("saliency").result()
    assert shades(result) == [(1, 15), (2, 25)]


@given(st.lists(st.integers(0, 700), max_size=6))
def test_no_frame_comes_after_a_later_one_however_often_the_run_falls_back(falls: list[int]) -> None:
    record, step, sequence = Record(), 0, 0
    for fall in [*falls, None]:
        for step in range(step + 1, 701):  # noqa: B020 - it goes on from where it fell to
            sequence += 1
            record.frames.add(Frame(step, sequence, _ARTIFACT))
        if fall is not None:
            step = min(fall, step)
            record.add(RunEvent("r", sequence, "started", _NOW, step=step))
    steps = [kept.step for kept in record.frames.kept]
    assert steps == sorted(set(steps))
    assert 120 <= len(steps) <= 240
    assert max(after - before for before, after in pairwise(steps)) <= 8


_ARTIFACT = convscope.Artifact("", "image", "image/png", "sha256:0", 0, b"")
_NOW = datetime.now(UTC)


def test_large_results_are_fetched_by_digest_when_they_are_looked_at() -> None:
    server = FakeServer()
    array = np.zeros((3, 1 << 18), np.float32)
    server.add_technique("saliency", [server.keep(tensor("big", array)), image("small", RED)])
    result = server.client().visualize("saliency").result()
    assert set(result.images) == {"small"}
    assert server.sent("Download") == []
    server.cuts.append(2)
    np.testing.assert_array_equal(result.tensors["big"], array)
    assert [request.offset for request in server.sent("Download")] == [0, 2 << 20], "a cut download began anew"


def test_an_awaited_result_needs_no_more_awaiting() -> None:
    server = FakeServer()
    array = np.zeros((3, 1 << 18), np.float32)
    server.add_technique("saliency", [server.keep(tensor("big", array))])

    async def watch(port: int) -> convscope.Result:
        async with convscope.aio.connect(f"127.0.0.1:{port}") as client:
            return await (await client.visualize("saliency")).result()

    with serving(server) as port:
        np.testing.assert_array_equal(asyncio.run(watch(port)).tensors["big"], array)


def test_content_that_is_not_what_its_digest_says_is_refused() -> None:
    server = FakeServer()
    event = server.keep(tensor("big", np.zeros(9)))
    server.content[event.result.digest] += b"!"
    server.add_technique("saliency", [event])
    with pytest.raises(convscope.Internal, match="ask again") as error:
        _ = server.client().visualize("saliency").result().tensors
    assert error.value.reason == "DIGEST_MISMATCH"


def test_a_closed_client_says_so_instead_of_trying_again() -> None:
    with serving(scripted()) as port:
        client = convscope.connect(f"127.0.0.1:{port}")
        run = client.visualize("saliency", detach=True)
        client.close()
        with pytest.raises(convscope.FailedPrecondition, match="closed"):
            run.result(timeout=20)
        with pytest.raises(convscope.FailedPrecondition, match="closed"):
            client.techniques()
