from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct
from hypothesis import given
from hypothesis import strategies as st

from convscope.v1 import artifact_pb2, catalog_service_pb2, run_pb2
from convscope_server.api.convert import (
    device_message,
    event_message,
    model_message,
    params_of,
    plugin_message,
    run_message,
    struct_of,
)
from convscope_server.engine.messages import DeviceStatus, LayerInfo, LoadedModel, ModelDetail, ModelInfo, PluginInfo
from convscope_server.runs import events
from convscope_server.runs.run import Gap, LoggedEvent, RunRecord, RunRequest

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(max_size=8), json_values, max_size=5))
def test_params_survive_the_wire_and_come_in_the_order_of_their_keys(values: dict[str, Any]) -> None:
    wire = Struct.FromString(struct_of(values).SerializeToString())
    params = params_of(wire)
    assert params == values
    assert list(params) == sorted(values)


def test_whole_doubles_become_integers_where_a_double_is_exact() -> None:
    params = params_of(struct_of({"a": 3.0, "b": 0.5, "c": 1e300, "d": True}))
    assert params == {"a": 3, "b": 0.5, "c": 1e300, "d": True}
    assert [type(v) for v in params.values()] == [int, float, float, bool]


ARTIFACT = events.Artifact("cam", "image", "image/png", b"png", "sha256:0", 3, "a cat", 4, 5, (0.0, 2.0), 7)
LOGGED: list[tuple[events.Event, str]] = [
    (events.Accepted("id"), "accepted"),
    (events.Queued(0), "queued"),
    (events.Started("cpu"), "started"),
    (events.Progress(3, 10, {"loss": 0.5}, 2.5), "progress"),
    (events.Preview(ARTIFACT), "preview"),
    (events.Result(ARTIFACT), "result"),
    (events.Note("note"), "note"),
    (events.Checkpointed(7, "key"), "checkpointed"),
    (events.Paused(), "paused"),
    (events.Updated(7, {"step_size": 0.5}), "updated"),
    (events.Succeeded(events.Report()), "succeeded"),
    (events.Failed(events.Error("NOT_FOUND", "m", "R", {"near": "x"})), "failed"),
    (events.Cancelled("draining"), "cancelled"),
]


@pytest.mark.parametrize(("event", "kind"), LOGGED, ids=[kind for _, kind in LOGGED])
def test_each_event_has_its_place_on_the_wire(event: events.Event, kind: str) -> None:
    message = event_message(LoggedEvent("r", 4, 1_700_000_000.25, event))
    assert message.WhichOneof("event") == kind
    assert (message.run, message.sequence) == ("r", 4)
    assert message.time.ToMilliseconds() == 1_700_000_000_250


def test_every_event_that_can_be_logged_is_tried() -> None:
    assert {type(event) for event, _ in LOGGED} == set(events.Event.__args__)


def test_a_gap_carries_the_last_sequence_that_it_stands_for() -> None:
    message = event_message(Gap("r", 3, 9))
    assert (message.sequence, message.gap.first, message.gap.last) == (9, 3, 9)
    assert not message.HasField("time")


def test_an_artifact_keeps_every_fact_and_tells_inline_from_absent() -> None:
    sent = event_message(LoggedEvent("r", 1, 0.0, events.Result(ARTIFACT))).result
    assert (sent.name, sent.kind, sent.media_type) == ("cam", artifact_pb2.ARTIFACT_KIND_IMAGE, "image/png")
    assert (sent.caption, sent.digest, sent.size_bytes, sent.inline_content) == ("a cat", "sha256:0", 3, b"png")
    assert (sent.width, sent.height, sent.step) == (4, 5, 7)
    assert (sent.value_range.min, sent.value_range.max) == (0.0, 2.0)
    stored = events.Artifact("cam", "tensor", "application/x-npy", None, "sha256:0", 3)
    absent = event_message(LoggedEvent("r", 1, 0.0, events.Result(stored))).result
    assert not absent.HasField("inline_content")
    assert not absent.HasField("value_range")


def test_the_report_and_the_error_arrive_whole() -> None:
    report = events.Report(
        {"target": 0.5}, ("a note",), {"seed": 7, "params": {"octaves": 4}}, (events.Prediction(285, "cat", 0.39),)
    )
    sent = event_message(LoggedEvent("r", 1, 0.0, events.Succeeded(report))).succeeded.report
    assert dict(sent.scores) == {"target": 0.5}
    assert list(sent.notes) == ["a note"]
    assert params_of(sent.provenance) == {"seed": 7, "params": {"octaves": 4}}
    assert (sent.predictions[0].index, sent.predictions[0].label) == (285, "cat")
    error = events.Error("NOT_FOUND", "m", "R", {"near": "x"}, (events.FieldViolation("image", "is missing"),))
    failed = event_message(LoggedEvent("r", 1, 0.0, events.Failed(error))).failed.error
    assert (failed.code, failed.message, failed.reason, dict(failed.metadata)) == (5, "m", "R", {"near": "x"})
    assert failed.violations[0].field == "image"


def test_a_run_that_has_not_started_has_no_start_time() -> None:
    request = RunRequest("deepdream", "m", {"octaves": 4}, seed=2**64 - 1, request_id="i", labels={"a": "b"})
    run = run_message(RunRecord("f" * 32, "queued", request, 5.0, None, None, 2, None))
    assert (run.state, run.seed, run.last_sequence) == (run_pb2.RUN_STATE_QUEUED, 2**64 - 1, 2)
    assert run.HasField("create_time")
    assert not any(run.HasField(name) for name in ("start_time", "end_time", "error"))


def test_a_run_says_how_urgent_it_is_and_what_it_has_cost() -> None:
    request = RunRequest("deepdream", "m", priority="batch")
    run = run_message(RunRecord("f" * 32, "running", request, 5.0, device_seconds=1.25))
    assert run.priority == run_pb2.PRIORITY_BATCH
    assert run.device_time.ToMilliseconds() == 1250


def test_the_time_to_the_start_is_absent_where_nobody_knows_it() -> None:
    waits = [event_message(LoggedEvent("r", 1, 0.0, events.Queued(3, eta))).queued for eta in (None, 2.5)]
    assert [wait.position for wait in waits] == [3, 3]
    assert not waits[0].HasField("eta")
    assert waits[1].eta.ToMilliseconds() == 2500
    assert not waits[0].for_memory
    assert event_message(LoggedEvent("r", 1, 0.0, events.Queued(3, for_memory=True))).queued.for_memory


def test_a_model_with_detail_and_a_plugin_and_a_device() -> None:
    info = ModelInfo("m", "classifier", "builtin", "a model")
    layer = LayerInfo("conv1", "Conv2d", (64, 112, 112), 9408, False, ((7, 7), (2, 2), (-3, -3)))
    flat = LayerInfo("flatten", "flatten", (512,), functional=True)
    detail = ModelDetail(
        info, "sha256:1", True, 10, 40, 224, (0.5,) * 3, (0.2,) * 3, ("cat",), (layer, flat), {"logits": "fc"}
    )
    model = model_message(info, ["cpu"], detail)
    assert list(model.detail.layers[0].receptive_field.offset) == [-3, -3]
    assert list(model.detail.layers[0].output_shape) == [64, 112, 112]
    assert not model.detail.layers[1].HasField("receptive_field")
    assert not model_message(info, []).HasField("detail")
    broken = plugin_message(PluginInfo("p", "pkg", "1.0", "ImportError: no cv2"))
    assert broken.state == catalog_service_pb2.PLUGIN_STATE_FAILED
    assert plugin_message(PluginInfo("p", "pkg", "1.0")).state == catalog_service_pb2.PLUGIN_STATE_LOADED
    device = device_message(DeviceStatus("cpu", "ready", 9, ("r",), (LoadedModel("m", 40, 1),), 100, 2))
    assert (device.pid, device.models[0].users, device.restarts) == (9, 1, 2)
