from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import convscope
from convscope._content import CHUNK_BYTES, INLINE_BYTES, digest_of, pack, upload_requests
from convscope.testing import FakeServer
from support.grpc_fake import serving

LARGE = random.Random(0).randbytes(INLINE_BYTES + 5)


def fake() -> FakeServer:
    server = FakeServer()
    server.add_technique("style", [])
    return server


def test_a_small_picture_travels_in_the_request() -> None:
    server = fake()
    server.client().visualize("style", image=b"small", extra_images={"style": b"other"})
    request = server.sent("Visualize")[0]
    assert (request.image.encoded, request.extra_images["style"].encoded) == (b"small", b"other")
    assert server.sent("FindMissing") == []


def test_a_large_picture_is_uploaded_once_in_chunks() -> None:
    server = fake()
    with serving(server) as port, convscope.connect(f"127.0.0.1:{port}") as client:
        client.visualize("style", image=LARGE)
        client.visualize("style", image=LARGE)
    assert [len(chunk.chunk) for chunk in server.sent("Upload")] == [CHUNK_BYTES, CHUNK_BYTES, 5]
    assert server.content == {digest_of(LARGE): LARGE}
    assert [request.image.digest for request in server.sent("Visualize")] == [digest_of(LARGE)] * 2


def test_only_what_is_missing_is_uploaded() -> None:
    server, other = fake(), LARGE[::-1]
    server.content[digest_of(LARGE)] = LARGE

    async def run(port: int) -> None:
        async with convscope.aio.connect(f"127.0.0.1:{port}") as client:
            await client.visualize("style", image=LARGE, extra_images={"style": other})

    with serving(server) as port:
        asyncio.run(run(port))
    assert b"".join(chunk.chunk for chunk in server.sent("Upload")) == other
    assert sorted(server.sent("FindMissing")[0].digests) == sorted([digest_of(LARGE), digest_of(other)])


def test_an_uploaded_picture_can_be_named_by_its_digest() -> None:
    server = fake()
    client = server.client()
    digest = client.upload(b"picture")
    assert client.upload(b"picture") == digest
    client.visualize("style", image=digest)
    assert server.sent("Visualize")[0].image.digest == digest
    assert len(server.sent("Upload")) == 1


@given(st.lists(st.integers(0, INLINE_BYTES + 10), max_size=6))
def test_no_request_outgrows_a_message(sizes: list[int]) -> None:
    parcel = pack({str(place): bytes(size) for place, size in enumerate(sizes)})
    assert sum(image.ByteSize() for image in parcel.images.values()) < 4 << 20
    assert len(parcel.images) == len(sizes)
    named = {image.digest for image in parcel.images.values() if image.digest}
    assert named == parcel.uploads.keys()
    assert all(len(image.encoded) <= INLINE_BYTES for image in parcel.images.values())


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1])
def test_chunks_put_together_are_the_file(size: int) -> None:
    content = bytes(size)
    requests = list(upload_requests("sha256:x", content))
    assert b"".join(request.chunk for request in requests) == content
    assert [request.digest for request in requests] == ["sha256:x"] + [""] * (len(requests) - 1)


def test_a_picture_that_is_not_there_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    server = fake()
    with pytest.raises(convscope.InvalidArgument, match="cannot read the picture"):
        server.client().visualize("style", image=tmp_path / "cat.jpg")
    assert server.requests == []
