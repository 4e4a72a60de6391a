from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from convscope.v1 import content_service_pb2, visualization_service_pb2
from convscope.v1 import image_set_service_pb2 as pb
from convscope_server.engine.messages import ImageSetDetail, ImageSetInfo, TechniqueInfo
from support.aio import in_loop
from support.fake_engine import FakeEngine
from support.image_sets import folder_of
from support.pictures import encoded, photo
from support.port import CATALOG, Port, refusal_of, serving, visualize

PICTURES = {f"{kind}/{n}.png": encoded(photo(8 + n, 8 + len(kind))) for kind in ("cats", "birds") for n in range(2)}

LOOK_AROUND = TechniqueInfo(
    "look_around",
    "What is like what.",
    '{"type": "object", "properties": {"image_set": {"type": "string", "default": "samples"}}}',
    ("image_set",),
)
SAMPLES = ImageSetInfo("samples", "builtin", "photographs")


def catalog_engine() -> FakeEngine:
    """An engine with a technique that looks at image sets, and one such set."""
    catalog = replace(
        CATALOG, techniques={"look_around": LOOK_AROUND, **CATALOG.techniques}, image_sets={"samples": SAMPLES}
    )
    engine = FakeEngine(catalog=catalog)
    engine.image_sets["samples"] = ImageSetDetail(SAMPLES, 3, {"class": {"cat": 2, "cup": 1}})
    return engine


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


async def upload(port: Port, content: bytes) -> str:
    async def chunks() -> AsyncIterator[content_service_pb2.UploadRequest]:
        yield content_service_pb2.UploadRequest(digest=digest_of(content), chunk=content)

    return str((await port.content.Upload(chunks())).digest)


async def missing(port: Port, *contents: bytes) -> list[bool]:
    digests = [digest_of(content) for content in contents]
    answer = await port.content.FindMissing(content_service_pb2.FindMissingRequest(digests=digests))
    return [digest in answer.digests for digest in digests]


def manifest_of(pictures: Mapping[str, bytes]) -> bytes:
    members = [
        {"name": name, "digest": digest_of(content), "labels": {"class": name.split("/")[0]}}
        for name, content in pictures.items()
    ]
    return json.dumps({"members": members}).encode()


async def create(port: Port, name: str, pictures: Mapping[str, bytes], **options: Any) -> pb.ImageSet:
    for content in pictures.values():
        await upload(port, content)
    request = pb.CreateImageSetRequest(name=name, manifest=await upload(port, manifest_of(pictures)), **options)
    return (await port.image_sets.CreateImageSet(request)).image_set  # type: ignore[no-any-return]  # a stub's


@in_loop
async def test_a_set_that_was_created_is_listed_shown_and_deleted(tmp_path: Path) -> None:
    async with serving(catalog_engine(), tmp_path) as port:
        made = await create(port, "mine", PICTURES)
        assert (made.source, made.count, made.size_bytes) == ("uploaded", 4, sum(map(len, PICTURES.values())))
        assert {c.name: dict(c.counts) for c in made.label_columns} == {"class": {"cats": 2, "birds": 2}}
        listed = (await port.image_sets.ListImageSets(pb.ListImageSetsRequest())).image_sets
        assert [(s.name, s.source, s.count) for s in listed] == [("mine", "uploaded", 4), ("samples", "builtin", 0)]
        assert (await port.image_sets.GetImageSet(pb.GetImageSetRequest(name="mine"))).image_set == made
        await port.image_sets.DeleteImageSet(pb.DeleteImageSetRequest(name="mine"))
        gone = await refusal_of(port.image_sets.GetImageSet(pb.GetImageSetRequest(name="mine")))
        assert (gone.code, gone.reason) == ("NOT_FOUND", "IMAGE_SET_NOT_FOUND")
        assert all(await missing(port, *PICTURES.values(), manifest_of(PICTURES)))


@in_loop
async def test_it_outlives_the_server(tmp_path: Path) -> None:
    async with serving(catalog_engine(), tmp_path) as port:
        made = await create(port, "mine", PICTURES)
    async with serving(catalog_engine(), tmp_path) as port:
        assert (await port.image_sets.GetImageSet(pb.GetImageSetRequest(name="mine"))).image_set == made


@in_loop
async def test_the_same_again_changes_nothing_and_other_pictures_need_leave(tmp_path: Path) -> None:
    async with serving(catalog_engine(), tmp_path) as port:
        made = await create(port, "mine", PICTURES)
        assert await create(port, "mine", PICTURES) == made
        fewer = dict(list(PICTURES.items())[:3])
        with pytest.raises(Exception, match="set replace"):
            await create(port, "mine", fewer)
        assert (await create(port, "mine", fewer, replace=True)).count == 3
        (dropped,) = set(PICTURES) - set(fewer)
        assert await missing(port, PICTURES[dropped], *fewer.values()) == [True, False, False, False]


@in_loop
async def test_pictures_that_something_else_needs_stay(tmp_path: Path) -> None:
    async with serving(catalog_engine(), tmp_path) as port:
        first, second, third, fourth = PICTURES.items()
        await create(port, "mine", dict([first, second, third]))
        await create(port, "other", dict([third, fourth]))
        seen = visualize(image=digest_of(first[1]))
        await port.visualization.SubmitRun(visualization_service_pb2.SubmitRunRequest(request=seen))
        await port.image_sets.DeleteImageSet(pb.DeleteImageSetRequest(name="mine"))
        assert await missing(port, first[1], second[1], third[1], fourth[1]) == [False, True, False, False]


@pytest.mark.parametrize("name", ["", "../mine", ".hidden", "a" * 129, "torchvision:CIFAR10", "new\nline"])
def test_a_name_that_is_none_is_refused(name: str, tmp_path: Path) -> None:
    async def check() -> None:
        async with serving(catalog_engine(), tmp_path) as port:
            request = pb.CreateImageSetRequest(name=name, manifest=await upload(port, manifest_of(PICTURES)))
            refusal = await refusal_of(port.image_sets.CreateImageSet(request))
            assert (refusal.code, set(refusal.violations)) == ("INVALID_ARGUMENT", {"name"})

    in_loop(check)()


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (b"", "IMAGE_SET_MANIFEST"),
        (b"[]", "IMAGE_SET_MANIFEST"),
        (b'{"members": []}', "IMAGE_SET_MANIFEST"),
        (b'{"members": [{"name": "a"}]}', "IMAGE_SET_MANIFEST"),
        (b'{"members": [{"name": "a", "digest": "../../etc/passwd"}]}', "DIGEST_INVALID"),
        (manifest_of({"a": b"1"})[:-2] + b"," + manifest_of({"a": b"1"})[13:], "IMAGE_SET_MANIFEST"),
        (b"\xff\xfe", "IMAGE_SET_MANIFEST"),
    ],
)
def test_a_document_that_describes_no_set_is_refused(document: bytes, reason: str, tmp_path: Path) -> None:
    async def check() -> None:
        async with serving(catalog_engine(), tmp_path) as port:
            request = pb.CreateImageSetRequest(name="mine", manifest=await upload(port, document))
            refusal = await refusal_of(port.image_sets.CreateImageSet(request))
            assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", reason)

    in_loop(check)()


@in_loop
async def test_pictures_that_were_not_uploaded_are_counted(tmp_path: Path) -> None:
    async with serving(catalog_engine(), tmp_path) as port:
        await upload(port, next(iter(PICTURES.values())))
        request = pb.CreateImageSetRequest(name="mine", manifest=await upload(port, manifest_of(PICTURES)))
        refusal = await refusal_of(port.image_sets.CreateImageSet(request))
        assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "IMAGE_SET_INCOMPLETE")
        assert refusal.metadata["missing"] == "3"


@in_loop
async def test_sets_of_the_server_keep_their_names_and_cannot_be_deleted(tmp_path: Path) -> None:
    folder_of(tmp_path / "sets" / "ours", 1)
    async with serving(catalog_engine(), tmp_path / "data", image_sets_dir=tmp_path / "sets") as port:
        listed = (await port.image_sets.ListImageSets(pb.ListImageSetsRequest())).image_sets
        assert [(s.name, s.source) for s in listed] == [("ours", "folder"), ("samples", "builtin")]
        for name in ("ours", "samples"):
            request = pb.CreateImageSetRequest(name=name, manifest=await upload(port, manifest_of(PICTURES)))
            assert (await refusal_of(port.image_sets.CreateImageSet(request))).reason == "IMAGE_SET_EXISTS"
            refusal = await refusal_of(port.image_sets.DeleteImageSet(pb.DeleteImageSetRequest(name=name)))
            assert refusal.reason == "IMAGE_SET_NOT_UPLOADED"
        shown = (await port.image_sets.GetImageSet(pb.GetImageSetRequest(name="samples"))).image_set
        assert (shown.count, dict(shown.label_columns[0].counts)) == (3, {"cat": 2, "cup": 1})
        folder_of(tmp_path / "sets" / "later", 1)
        listed = (await port.image_sets.ListImageSets(pb.ListImageSetsRequest())).image_sets
        assert [s.name for s in listed] == ["later", "ours", "samples"]


@in_loop
async def test_a_run_is_told_where_the_uploaded_set_is_and_an_unknown_one_is_refused_at_once(tmp_path: Path) -> None:
    engine = catalog_engine()
    async with serving(engine, tmp_path) as port:
        made = await create(port, "mine", PICTURES)
        for name in ("mine", "samples"):
            request = visualize("look_around", image=None, params={"image_set": name})
            await port.visualization.SubmitRun(visualization_service_pb2.SubmitRunRequest(request=request))
        assert [spec.image_sets for spec in engine.started] == [{"mine": made.manifest}, {}]
        assert made.manifest in engine.started[0].input_digests.values()
        request = visualize("look_around", image=None, params={"image_set": "mime"})
        call = port.visualization.SubmitRun(visualization_service_pb2.SubmitRunRequest(request=request))
        refusal = await refusal_of(call)
        assert (refusal.code, refusal.reason, refusal.metadata["near"]) == ("NOT_FOUND", "IMAGE_SET_NOT_FOUND", "mine")
