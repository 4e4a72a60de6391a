from __future__ import annotations

import pytest
from PIL import Image

import convscope
from convscope import testing
from convscope.testing import fake_run


def test_a_users_program_can_be_tested_without_a_server() -> None:
    server = testing.FakeServer()
    picture = Image.new("RGB", (6, 4))
    server.add_technique(
        "saliency", [testing.queued(2, eta=4.5), testing.progress(1, 2), testing.image("saliency", picture)]
    )
    run = server.client().visualize("saliency")
    assert [event.kind for event in run] == ["accepted", "started", "queued", "progress", "result", "succeeded"]
    assert run.result().images["saliency"].size == (6, 4)


def test_a_script_may_depend_on_the_request() -> None:
    server = testing.FakeServer()
    server.add_technique("echo", lambda request: [testing.text("model", request.model)])
    server.add_model("tiny")
    assert server.client().visualize("echo", model="tiny").result().texts == {"model": "tiny"}


def test_the_script_may_end_a_run_in_any_way() -> None:
    server = testing.FakeServer()
    server.add_technique("stopped", [testing.cancelled()])
    server.add_technique("broken", [testing.failed("RESOURCE_EXHAUSTED", "no room", reason="OUT_OF_MEMORY")])
    with pytest.raises(convscope.RunCancelled):
        server.client().visualize("stopped").result()
    with pytest.raises(convscope.ResourceExhausted, match="no room"):
        server.client().visualize("broken").result()


def test_a_resumable_run_can_be_paused_and_updated_between_two_events() -> None:
    server = testing.FakeServer()
    server.add_technique("dream", [testing.progress(4, 9), testing.progress(5, 9)], resumable=True, steers=["tv"])
    run = server.client().visualize("dream")
    while next(run).kind != "progress":
        pass
    run.update(tv=0.5)
    run.pause()
    run.pause()
    run.update(tv=0.25)
    run.resume()
    run.resume()
    later = list(run)
    assert [event.kind for event in later] == [
        "updated", "paused", "queued", "started", "updated", "progress", "succeeded",
    ]  # fmt: skip
    assert [(event.step, event.params) for event in later if event.kind == "updated"] == [
        (4, {"tv": 0.5}), (4, {"tv": 0.25}),
    ]  # fmt: skip
    run.pause()
    assert run.refresh().state == "succeeded"
    with pytest.raises(convscope.FailedPrecondition, match="has ended") as refused:
        run.update(tv=1)
    assert refused.value.reason == "RUN_ENDED"


def test_a_paused_run_can_be_cancelled() -> None:
    server = testing.FakeServer()
    server.add_technique("dream", [testing.progress(1)], resumable=True)
    run = server.client().visualize("dream")
    run.pause()
    run.cancel()
    assert [event.kind for event in run][-2:] == ["paused", "cancelled"]


def test_who_watches_a_paused_run_that_nobody_resumes_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fake_run, "_PATIENCE", 0.05)
    server = testing.FakeServer()
    server.add_technique("dream", [], resumable=True)
    run = server.client().visualize("dream")
    run.pause()
    with pytest.raises(convscope.FailedPrecondition, match="nobody resumes it"):
        list(run)


def test_what_was_sent_can_be_asserted() -> None:
    server = testing.FakeServer()
    server.add_technique("x", [])
    server.client().visualize("x", seed=3)
    assert [request.seed for request in server.sent("Visualize")] == [3]


def test_an_upload_that_is_damaged_is_refused() -> None:
    server = testing.FakeServer()
    request = next(iter(_damaged()))
    with pytest.raises(convscope.InvalidArgument):
        server.upload("Upload", [request])


def _damaged() -> list[object]:
    from convscope._content import upload_requests

    return list(upload_requests("sha256:" + "0" * 64, b"bytes"))
