"""What "bad input gets": every refusal of a request for a run, over a real port."""

from __future__ import annotations

import hashlib
import uuid
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Value

from convscope.v1 import content_service_pb2, run_pb2
from convscope.v1 import visualization_service_pb2 as pb
from convscope_server.api import fields
from convscope_server.api.convert import struct_of
from support.aio import in_loop
from support.fake_engine import FakeEngine, steps
from support.pictures import ODD_PICTURES, bomb, encoded, photo
from support.port import Refusal, catalog_engine, refusal_of, serving, visualize


async def refused(tmp_path: Path, request: run_pb2.VisualizeRequest, engine: FakeEngine | None = None) -> Refusal:
    """What both ways of asking answer: they must agree."""
    engine = engine or catalog_engine()
    async with serving(engine, tmp_path) as port:
        refusal = await refusal_of(port.visualization.Visualize(request))
        assert await refusal_of(port.visualization.SubmitRun(pb.SubmitRunRequest(request=request))) == refusal
        listed = await port.visualization.ListRuns(pb.ListRunsRequest())
    assert engine.started == []
    assert list(listed.runs) == []
    return refusal


@in_loop
async def test_an_unknown_technique_gets_the_nearest(tmp_path: Path) -> None:
    refusal = await refused(tmp_path, visualize("salience"))
    assert (refusal.code, refusal.reason) == ("NOT_FOUND", "TECHNIQUE_NOT_FOUND")
    assert refusal.metadata["near"] == "saliency"
    assert "saliency" in refusal.message


@in_loop
async def test_a_technique_that_did_not_load_gets_the_recorded_reason(tmp_path: Path) -> None:
    refusal = await refused(tmp_path, visualize("vendor.flow"))
    assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "TECHNIQUE_NOT_LOADED")
    assert "No module named 'cv2'" in refusal.message
    assert refusal.metadata == {"plugin": "broken", "package": "vendor-pack", "version": "2.1"}


@in_loop
async def test_an_unknown_model_gets_the_nearest(tmp_path: Path) -> None:
    refusal = await refused(tmp_path, visualize(model="efficientnet_lite"))
    assert (refusal.code, refusal.reason) == ("NOT_FOUND", "MODEL_NOT_FOUND")
    assert refusal.metadata["near"] == "efficientnet_lite0"
    assert "timm:" in refusal.message


@in_loop
async def test_a_model_of_a_source_is_left_to_the_worker(tmp_path: Path) -> None:
    engine = catalog_engine(script=steps(1))
    async with serving(engine, tmp_path) as port:
        async for _ in port.visualization.Visualize(visualize(model="timm:resnet18")):
            pass
    assert engine.started[0].model == "timm:resnet18"


@in_loop
async def test_wrong_and_unknown_params_come_back_with_path_given_and_allowed(tmp_path: Path) -> None:
    refusal = await refused(tmp_path, visualize(params={"octaves": 0, "fit": "corp", "octavs": 4, "target": "a b"}))
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "PARAMS_INVALID")
    assert refusal.violations["params.octaves"] == "given 0; allowed: an integer from 1 to 20"
    assert refusal.violations["params.fit"] == 'given "corp"; allowed: "crop", "resize", "pad" (did you mean crop?)'
    assert "did you mean octaves" in refusal.violations["params.octavs"]
    assert "blocks.4:17@6,6" in refusal.violations["params.target"]


@in_loop
async def test_a_missing_image_is_named(tmp_path: Path) -> None:
    refusal = await refused(tmp_path, visualize(image=None))
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "IMAGE_MISSING")
    assert set(refusal.violations) == {"image"}
    assert "saliency" in refusal.message


@in_loop
async def test_an_empty_image_is_a_missing_one(tmp_path: Path) -> None:
    request = visualize(image=None)
    request.image.SetInParent()
    assert (await refused(tmp_path, request)).reason == "IMAGE_MISSING"


@in_loop
async def test_a_technique_that_needs_no_image_runs_without_one(tmp_path: Path) -> None:
    engine = catalog_engine(script=steps(1))
    async with serving(engine, tmp_path) as port:
        async for _ in port.visualization.Visualize(visualize("filters", image=None)):
            pass
    assert engine.started[0].image is None


@in_loop
async def test_an_unknown_role_gets_the_nearest(tmp_path: Path) -> None:
    refusal = await refused(tmp_path, visualize("style", extra_images={"styles": encoded()}))
    assert refusal.reason == "ROLE_UNKNOWN"
    assert "did you mean style" in refusal.violations["extra_images.styles"]


@in_loop
async def test_everything_wrong_comes_in_one_answer(tmp_path: Path) -> None:
    request = visualize(image=b"no picture", params={"octaves": 99}, extra_images={"mask": encoded()})
    refusal = await refused(tmp_path, request)
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "REQUEST_INVALID")
    assert set(refusal.violations) == {"image", "params.octaves", "extra_images.mask"}


@in_loop
async def test_a_media_type_that_no_plugin_writes_is_named_with_those_that_are(tmp_path: Path) -> None:
    refusal = await refused(tmp_path, visualize(media_types=["image/png", "image/x-exr"]))
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "MEDIA_TYPE_UNKNOWN")
    assert "'image/x-exr' (allowed: image/png, application/x-npy" in refusal.violations["media_types[1]"]


@in_loop
async def test_two_media_types_of_one_kind_are_one_too_many(tmp_path: Path) -> None:
    refusal = await refused(tmp_path, visualize(media_types=["text/html", "text/plain"]))
    assert set(refusal.violations) == {"media_types[1]"}
    assert "beside text/html" in refusal.message


def update(step: int, **params: Any) -> run_pb2.Update:
    return run_pb2.Update(step=step, params=struct_of(params))


@pytest.mark.parametrize(
    ("updates", "reason", "path", "words"),
    [
        ([update(3, fit="pad")], "PARAM_NOT_STEERING", "updates[0].params.fit", "(allowed: label, octaves)"),
        ([update(3, octavs=2)], "PARAMS_INVALID", "updates[0].params.octavs", "did you mean octaves? (allowed: label"),
        ([update(3, octaves=0)], "PARAMS_INVALID", "updates[0].params.octaves", "given 0; allowed: an integer from 1"),
        ([update(3)], "REQUEST_INVALID", "updates[0].params", "is empty: name the parameters that change"),
        ([update(-1, octaves=2)], "REQUEST_INVALID", "updates[0].step", "given -1; allowed: 0 or more"),
        ([update(4, octaves=2), update(3, octaves=3)], "REQUEST_INVALID", "updates[1].step", "allowed: 4 or more"),
        ([update(3, label="x" * 70_000)], "REQUEST_INVALID", "updates", "take 70,0"),
    ],
    ids=["not steering", "unknown", "out of range", "empty", "before the beginning", "falling", "too large"],
)
def test_an_update_that_cannot_be_is_refused_by_its_place(
    updates: list[run_pb2.Update], reason: str, path: str, words: str, tmp_path: Path
) -> None:
    async def check() -> None:
        refusal = await refused(tmp_path, visualize("dream", updates=updates))
        assert (refusal.code, refusal.reason, list(refusal.violations)) == ("INVALID_ARGUMENT", reason, [path])
        assert words in refusal.violations[path]

    in_loop(check)()


@in_loop
async def test_a_technique_that_cannot_be_steered_takes_no_updates(tmp_path: Path) -> None:
    refusal = await refused(tmp_path, visualize(updates=[update(1, octaves=2)]))
    assert refusal.reason == "PARAM_NOT_STEERING"
    assert "in technique saliency (allowed: none)" in refusal.violations["updates[0].params.octaves"]


@pytest.mark.parametrize(
    ("params", "reason", "path"),
    [
        ({"fit": "pad"}, "PARAM_NOT_STEERING", "params.fit"),
        ({"octavs": 2}, "PARAMS_INVALID", "params.octavs"),
        ({"octaves": 21}, "PARAMS_INVALID", "params.octaves"),
        ({}, "REQUEST_INVALID", "params"),
        ({"label": "x" * 70_000}, "REQUEST_INVALID", "params"),
    ],
    ids=["not steering", "unknown", "out of range", "empty", "too large"],
)
def test_what_a_run_cannot_become_is_refused(params: dict[str, Any], reason: str, path: str, tmp_path: Path) -> None:
    async def check() -> None:
        async with serving(catalog_engine(), tmp_path) as port:
            run = (await port.visualization.SubmitRun(pb.SubmitRunRequest(request=visualize("dream")))).run
            call = port.visualization.UpdateRun(pb.UpdateRunRequest(run=run.id, params=struct_of(params)))
            refusal = await refusal_of(call)
            assert (refusal.code, refusal.reason, list(refusal.violations)) == ("INVALID_ARGUMENT", reason, [path])
            after = (await port.visualization.GetRun(pb.GetRunRequest(run=run.id))).run
        assert list(after.updates) == []

    in_loop(check)()


OUT_OF_BOUNDS: dict[str, dict[str, Any]] = {
    "technique": {"technique": "x" * 257},
    "model": {"model": ""},
    "request_id": {"request_id": "not-a-uuid"},
    "previews.min_interval": {"previews": run_pb2.PreviewOptions(min_interval=Duration(seconds=3601))},
    "previews.max_edge": {"previews": run_pb2.PreviewOptions(max_edge=15)},
    "previews.format": {"previews": run_pb2.PreviewOptions(format=9)},  # type: ignore[arg-type]  # none of them
    "deadline": {"deadline": Duration(seconds=-1)},
    "on_disconnect": {"on_disconnect": 9},
    "priority": {"priority": 4},
    "labels": {"labels": {f"k{i}": "" for i in range(33)}},
    "labels.key": {"labels": {"key": "v" * 129}},
    "max_restarts": {"max_restarts": 11},
    "media_types": {"media_types": ["image/png"] * 9},
    "image.digest": {"image": "sha256:abc"},
    "extra_images": {"extra_images": {f"r{i}": encoded() for i in range(17)}},
    "params": {"params": {"label": "x" * 70_000}},
    "updates": {"technique": "dream", "updates": [update(0, octaves=2)] * 1025},
}


@pytest.mark.parametrize("field", OUT_OF_BOUNDS)
def test_a_field_out_of_its_bounds_is_refused_by_name(field: str, tmp_path: Path) -> None:
    async def check() -> None:
        refusal = await refused(tmp_path, visualize(**OUT_OF_BOUNDS[field]))
        assert refusal.code == "INVALID_ARGUMENT"
        assert set(refusal.violations) == {field}
        assert refusal.violations[field] in refusal.message

    in_loop(check)()


@pytest.mark.parametrize(
    "changes",
    [
        {"request_id": str(uuid.uuid4()).upper()},
        {"request_id": uuid.uuid4().hex},
        {"previews": run_pb2.PreviewOptions(min_interval=Duration(), max_edge=2048)},
        {"labels": {f"k{i}": "v" * 128 for i in range(32)}},
        {"max_restarts": 10},
        {"media_types": ["image/png"] * 8},
        {"priority": run_pb2.PRIORITY_BATCH},
        {"deadline": Duration(seconds=5)},
        {"technique": "dream", "updates": [update(step, octaves=2) for step in (0, *range(1023))]},
    ],
)
def test_a_field_at_its_bound_is_taken(changes: dict[str, Any], tmp_path: Path) -> None:
    async def check() -> None:
        async with serving(catalog_engine(), tmp_path) as port:
            response = await port.visualization.SubmitRun(pb.SubmitRunRequest(request=visualize(**changes)))
            assert response.run.state == run_pb2.RUN_STATE_QUEUED

    in_loop(check)()


@pytest.mark.parametrize("kind", ODD_PICTURES)
def test_an_odd_picture_is_taken(kind: str, tmp_path: Path) -> None:
    async def check() -> None:
        engine = catalog_engine(script=steps(1))
        picture = ODD_PICTURES[kind]()
        async with serving(engine, tmp_path) as port:
            async for _ in port.visualization.Visualize(visualize(image=picture)):
                pass
        assert engine.started[0].image == picture

    in_loop(check)()


@pytest.mark.parametrize(
    ("picture", "reason"),
    [
        (b"no picture at all", "IMAGE_UNREADABLE"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 64, "IMAGE_UNREADABLE"),
        (encoded(photo(), "PPM"), "IMAGE_FORMAT"),
        (encoded(photo(), "PDF"), "IMAGE_FORMAT"),
        (bomb(), "IMAGE_TOO_MANY_PIXELS"),
    ],
    ids=["text", "broken", "PPM", "PDF", "20,000 x 20,000"],
)
def test_what_cannot_be_looked_at_is_refused_before_it_is_decoded(picture: bytes, reason: str, tmp_path: Path) -> None:
    async def check() -> None:
        for request in (visualize(image=picture), visualize("style", extra_images={"style": picture})):
            refusal = await refused(tmp_path, request)
            assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", reason)
            assert len(refusal.violations) == 1

    in_loop(check)()


@in_loop
async def test_the_sizes_of_a_bomb_are_told(tmp_path: Path) -> None:
    refusal = await refused(tmp_path, visualize(image=bomb()))
    assert "20000" in " ".join((refusal.message, *refusal.metadata.values())).replace(",", "")


@in_loop
async def test_a_digest_is_checked_like_the_picture_itself(tmp_path: Path) -> None:
    async with serving(catalog_engine(), tmp_path) as port:
        picture = bomb()
        digest = f"sha256:{hashlib.sha256(picture).hexdigest()}"
        missing = await refusal_of(port.visualization.Visualize(visualize(image=digest)))
        assert (missing.code, missing.metadata["digest"]) == ("NOT_FOUND", digest)
        await port.content.Upload(iter([content_service_pb2.UploadRequest(digest=digest, chunk=picture)]))
        refusal = await refusal_of(port.visualization.Visualize(visualize(image=digest)))
        assert refusal.reason == "IMAGE_TOO_MANY_PIXELS"


@in_loop
async def test_an_uploaded_picture_is_used_by_digest(tmp_path: Path) -> None:
    engine = catalog_engine(script=steps(1))
    picture = encoded()
    digest = f"sha256:{hashlib.sha256(picture).hexdigest()}"
    async with serving(engine, tmp_path) as port:
        await port.content.Upload(iter([content_service_pb2.UploadRequest(digest=digest, chunk=picture)]))
        async for _ in port.visualization.Visualize(visualize(image=digest)):
            pass
    assert engine.started[0].image == picture
    assert engine.started[0].input_digests == {"image": digest}


@in_loop
async def test_an_image_above_two_mebibytes_is_sent_to_upload(tmp_path: Path) -> None:
    refusal = await refused(tmp_path, visualize(image=b"x" * (2 * 2**20 + 1)))
    assert refusal.reason == "IMAGE_TOO_LARGE_INLINE"
    assert "ContentService.Upload" in refusal.violations["image"]


@in_loop
async def test_numbers_that_are_none_are_refused(tmp_path: Path) -> None:
    request = visualize()
    request.params.fields["octaves"].CopyFrom(Value(number_value=float("nan")))
    assert "a finite number" in (await refused(tmp_path, request)).violations["params.octaves"]


@in_loop
async def test_however_much_is_wrong_the_answer_arrives(tmp_path: Path) -> None:
    params = {f"{i}{'ж' * 100}": "x" * 500 for i in range(60)}
    refusal = await refused(tmp_path, visualize(params=params))
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "PARAMS_INVALID")
    assert len(refusal.violations) >= 3


@in_loop
async def test_a_run_is_not_changed_more_often_than_it_can_be_repeated(tmp_path: Path) -> None:
    updates = [update(step, octaves=2) for step in range(fields.MAX_UPDATES)]
    async with serving(catalog_engine(), tmp_path) as port:
        request = visualize("dream", updates=updates)
        run = (await port.visualization.SubmitRun(pb.SubmitRunRequest(request=request))).run
        call = port.visualization.UpdateRun(pb.UpdateRunRequest(run=run.id, params=struct_of({"octaves": 3})))
        refusal = await refusal_of(call)
    assert (refusal.reason, list(refusal.violations)) == ("REQUEST_INVALID", ["updates"])
