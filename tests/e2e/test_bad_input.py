"""What bad input gets from a whole server: its own process, its worker, a broken plugin, a real network."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub

from convscope.testing import ServerProcess
from convscope.v1 import catalog_service_pb2, content_service_pb2, model_admin_service_pb2, run_pb2
from convscope.v1 import visualization_service_pb2 as pb
from convscope.v1.catalog_service_pb2_grpc import CatalogServiceStub
from convscope.v1.content_service_pb2_grpc import ContentServiceStub
from convscope.v1.model_admin_service_pb2_grpc import ModelAdminServiceStub
from convscope.v1.visualization_service_pb2_grpc import VisualizationServiceStub
from support.pictures import ODD_PICTURES, bomb, encoded, photo, truncated
from support.port import Refusal, visualize

pytestmark = pytest.mark.slow

BROKEN_PLUGIN = "import a_library_that_nobody_has\n"


@pytest.fixture(scope="module")
def channel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[grpc.Channel]:
    folder = tmp_path_factory.mktemp("server")
    plugin = folder / "broken_plugin.py"
    plugin.write_text(BROKEN_PLUGIN)
    with (
        ServerProcess(folder, "--plugin", str(plugin), "--devices", "cpu") as server,
        grpc.insecure_channel(server.address) as link,
    ):
        yield link


def ask(channel: grpc.Channel, technique: str = "saliency", **changes: Any) -> list[run_pb2.RunEvent]:
    stub: Any = VisualizationServiceStub(channel)
    return list(stub.Visualize(visualize(technique, **changes), timeout=120))


def refusal(channel: grpc.Channel, technique: str = "saliency", **changes: Any) -> Refusal:
    with pytest.raises(grpc.RpcError) as caught:
        ask(channel, technique, **changes)
    return as_refusal(caught.value)


def as_refusal(error: Any) -> Refusal:
    status = status_pb2.Status()
    trailers = dict(error.trailing_metadata())
    status.ParseFromString(trailers["grpc-status-details-bin"])
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details:
        _ = detail.Unpack(info) or detail.Unpack(bad)
    violations = {v.field: v.description for v in bad.field_violations}
    return Refusal(error.code().name, error.details(), info.reason, dict(info.metadata), violations)


def test_an_unknown_technique_gets_near_ids(channel: grpc.Channel) -> None:
    refused = refusal(channel, "gradcam")
    assert (refused.code, refused.reason) == ("NOT_FOUND", "TECHNIQUE_NOT_FOUND")
    assert "grad_cam" in refused.message


@pytest.mark.parametrize("model", ["efficientnet_lite", "timm:resnet81", "torchvision:resnet81", "nowhere:model"])
def test_an_unknown_model_gets_not_found(model: str, channel: grpc.Channel) -> None:
    refused = refusal(channel, model=model)
    assert refused.code == "NOT_FOUND"
    assert refused.reason == "MODEL_NOT_FOUND"


@pytest.mark.parametrize(
    ("params", "path"),
    [
        ({"size": 3}, "params.size"),
        ({"size": "big"}, "params.size"),
        ({"fit": "corp"}, "params.fit"),
        ({"targit": "top1"}, "params.targit"),
        ({"target": "a b c"}, "params.target"),
    ],
)
def test_wrong_params_come_back_with_their_path(params: dict[str, Any], path: str, channel: grpc.Channel) -> None:
    refused = refusal(channel, params=params)
    assert (refused.code, refused.reason) == ("INVALID_ARGUMENT", "PARAMS_INVALID")
    assert set(refused.violations) == {path}


def test_an_unknown_layer_gets_near_names(channel: grpc.Channel) -> None:
    refused = refusal(channel, "grad_cam", params={"layer": "block.6"})
    assert (refused.code, refused.reason) == ("NOT_FOUND", "LAYER_NOT_FOUND")
    assert "blocks.6" in refused.message


@pytest.mark.parametrize("target", ["class:1000", "class:285000", 'class:"Egyptian cta"', "top1001"])
def test_a_class_that_is_not_there_is_the_callers_fault(target: str, channel: grpc.Channel) -> None:
    refused = refusal(channel, params={"target": target})
    assert refused.code in {"INVALID_ARGUMENT", "NOT_FOUND"}
    assert len(refused.message) < 500


def test_a_missing_image_is_named(channel: grpc.Channel) -> None:
    refused = refusal(channel, image=None)
    assert (refused.code, refused.reason) == ("INVALID_ARGUMENT", "IMAGE_MISSING")
    assert set(refused.violations) == {"image"}


@pytest.mark.parametrize("kind", ODD_PICTURES)
def test_an_odd_picture_simply_works(kind: str, channel: grpc.Channel) -> None:
    log = ask(channel, image=ODD_PICTURES[kind](), previews=run_pb2.PreviewOptions(none=True))
    assert log[-1].WhichOneof("event") == "succeeded"
    results = {event.result.name for event in log if event.WhichOneof("event") == "result"}
    assert {"input", "saliency"} <= results


@pytest.mark.parametrize(
    ("picture", "reason"),
    [
        (b"no picture", "IMAGE_UNREADABLE"),
        (truncated(), "IMAGE_TRUNCATED"),
        (encoded(photo(), "PPM"), "IMAGE_FORMAT"),
        (bomb(), "IMAGE_TOO_MANY_PIXELS"),
    ],
    ids=["text", "truncated", "PPM", "20,000 x 20,000"],
)
def test_a_picture_that_cannot_be_used_says_why(picture: bytes, reason: str, channel: grpc.Channel) -> None:
    refused = refusal(channel, image=picture)
    assert (refused.code, refused.reason) == ("INVALID_ARGUMENT", reason)


def test_a_message_that_is_too_long_is_told_to_upload(channel: grpc.Channel) -> None:
    refused = refusal(channel, image=b"x" * (5 * 2**20))
    assert (refused.code, refused.reason) == ("RESOURCE_EXHAUSTED", "MESSAGE_TOO_LONG")
    assert "digest" in refused.message


def test_an_upload_with_another_digest_is_not_kept(channel: grpc.Channel) -> None:
    digest = f"sha256:{hashlib.sha256(b'promised').hexdigest()}"
    stub: Any = ContentServiceStub(channel)
    with pytest.raises(grpc.RpcError) as caught:
        stub.Upload(iter([content_service_pb2.UploadRequest(digest=digest, chunk=b"delivered")]))
    assert as_refusal(caught.value).reason == "DIGEST_MISMATCH"


def test_bytes_that_are_no_message_are_the_callers_fault(channel: grpc.Channel) -> None:
    call = channel.unary_unary("/convscope.v1.VisualizationService/GetRun")
    with pytest.raises(grpc.RpcError) as caught:
        call(b"\xff\xff\xff")  # type: ignore[arg-type]  # no serializer: bytes as they are
    assert as_refusal(caught.value).code == "INVALID_ARGUMENT"


def test_a_broken_plugin_is_listed_with_its_reason_and_hurts_nobody(channel: grpc.Channel) -> None:
    stub: Any = CatalogServiceStub(channel)
    plugins = stub.ListPlugins(catalog_service_pb2.ListPluginsRequest()).plugins
    broken = [plugin for plugin in plugins if plugin.state == catalog_service_pb2.PLUGIN_STATE_FAILED]
    assert len(broken) == 1
    assert "a_library_that_nobody_has" in broken[0].reason
    assert "saliency" in {t.id for t in stub.ListTechniques(catalog_service_pb2.ListTechniquesRequest()).techniques}


def test_a_deadline_in_the_past_of_the_run_ends_it_with_deadline_exceeded(channel: grpc.Channel) -> None:
    request = visualize("occlusion", params={"stride": 1})
    request.deadline.FromMilliseconds(200)
    stub: Any = VisualizationServiceStub(channel)
    with pytest.raises(grpc.RpcError) as caught:
        list(stub.Visualize(request, timeout=60))
    assert as_refusal(caught.value).code == "DEADLINE_EXCEEDED"


def test_a_model_that_a_source_cannot_get_says_what_to_do(channel: grpc.Channel) -> None:
    stub: Any = ModelAdminServiceStub(channel)
    with pytest.raises(grpc.RpcError) as caught:
        stub.LoadModel(model_admin_service_pb2.LoadModelRequest(model="timm:"), timeout=60)
    assert as_refusal(caught.value).code == "NOT_FOUND"


def test_after_all_of_it_the_server_is_healthy_and_its_worker_the_same(channel: grpc.Channel) -> None:
    health: Any = HealthStub(channel)
    assert health.Check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.SERVING
    admin: Any = ModelAdminServiceStub(channel)
    (device,) = admin.ListDevices(model_admin_service_pb2.ListDevicesRequest()).devices
    assert device.restarts == 0
    assert ask(channel)[-1].WhichOneof("event") == "succeeded"
    stub: Any = VisualizationServiceStub(channel)
    runs = stub.ListRuns(pb.ListRunsRequest(page_size=1000)).runs
    ended = {run_pb2.RUN_STATE_SUCCEEDED, run_pb2.RUN_STATE_FAILED, run_pb2.RUN_STATE_CANCELLED}
    assert {run.state for run in runs} <= ended
