from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from convscope.v1 import content_service_pb2 as pb
from support.aio import in_loop
from support.port import Port, catalog_engine, refusal_of, serving

MIB = 2**20


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def chunks(content: bytes, digest: str, size: int = MIB) -> Iterator[pb.UploadRequest]:
    for start in range(0, max(len(content), 1), size):
        yield pb.UploadRequest(digest=digest if start == 0 else "", chunk=content[start : start + size])


async def downloaded(port: Port, digest: str, offset: int = 0) -> tuple[bytes, set[int]]:
    messages = [m async for m in port.content.Download(pb.DownloadRequest(digest=digest, offset=offset))]
    assert all(len(m.chunk) <= MIB for m in messages)
    return b"".join(m.chunk for m in messages), {m.size_bytes for m in messages}


@pytest.mark.parametrize("size", [0, 1, MIB, MIB + 1, 3 * MIB])
def test_what_was_uploaded_is_downloaded_from_any_offset(size: int, tmp_path: Path) -> None:
    async def check() -> None:
        content = os.urandom(size)
        digest = digest_of(content)
        async with serving(catalog_engine(), tmp_path) as port:
            missing = await port.content.FindMissing(pb.FindMissingRequest(digests=[digest]))
            assert list(missing.digests) == [digest]
            kept = await port.content.Upload(chunks(content, digest))
            assert (kept.digest, kept.size_bytes) == (digest, size)
            assert not (await port.content.FindMissing(pb.FindMissingRequest(digests=[digest]))).digests
            for offset in {0, size // 2, size}:
                assert await downloaded(port, digest, offset) == (content[offset:], {size})
            beyond = await refusal_of(port.content.Download(pb.DownloadRequest(digest=digest, offset=size + 1)))
            assert (beyond.code, beyond.reason) == ("INVALID_ARGUMENT", "OFFSET_INVALID")

    in_loop(check)()


@in_loop
async def test_bytes_that_have_another_digest_are_not_kept(tmp_path: Path) -> None:
    async with serving(catalog_engine(), tmp_path) as port:
        digest = digest_of(b"promised")
        refusal = await refusal_of(port.content.Upload(chunks(b"delivered", digest)))
        assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "DIGEST_MISMATCH")
        assert list((await port.content.FindMissing(pb.FindMissingRequest(digests=[digest]))).digests) == [digest]


@in_loop
async def test_an_upload_that_breaks_off_leaves_nothing_behind(tmp_path: Path) -> None:
    content = os.urandom(2 * MIB)
    async with serving(catalog_engine(), tmp_path) as port:
        call = port.content.Upload()
        await call.write(next(chunks(content, digest_of(content))))
        call.cancel()
        whole = await port.content.Upload(chunks(content, digest_of(content)))
        assert whole.size_bytes == len(content)
    assert [p for p in (tmp_path / "content").rglob("*") if p.is_file() and "incoming" in p.parts] == []


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.UploadRequest(chunk=b"x"), "digest"),
        (pb.UploadRequest(digest="sha256:../../etc/passwd", chunk=b"x"), "digest"),
        (pb.UploadRequest(digest=digest_of(b"x"), chunk=b"x" * (MIB + 1)), "chunk"),
    ],
)
def test_an_upload_out_of_bounds_is_refused(request_: pb.UploadRequest, field: str, tmp_path: Path) -> None:
    async def check() -> None:
        async with serving(catalog_engine(), tmp_path) as port:
            refusal = await refusal_of(port.content.Upload(iter([request_])))
            assert refusal.code == "INVALID_ARGUMENT"
            assert set(refusal.violations) == {field}

    in_loop(check)()


@in_loop
async def test_an_upload_of_nothing_at_all_is_refused(tmp_path: Path) -> None:
    async with serving(catalog_engine(), tmp_path) as port:
        nothing: list[Any] = []
        refusal = await refusal_of(port.content.Upload(iter(nothing)))
        assert set(refusal.violations) == {"digest"}


@in_loop
async def test_an_upload_above_the_servers_limit_is_refused_while_it_comes(tmp_path: Path) -> None:
    content = os.urandom(2 * MIB)
    async with serving(catalog_engine(), tmp_path, max_upload_bytes=MIB) as port:
        refusal = await refusal_of(port.content.Upload(chunks(content, digest_of(content))))
        assert refusal.reason == "CONTENT_TOO_LARGE"
        assert refusal.metadata["max_bytes"] == str(MIB)


@in_loop
async def test_digests_are_bounded_in_number_and_form(tmp_path: Path) -> None:
    async with serving(catalog_engine(), tmp_path) as port:
        many = pb.FindMissingRequest(digests=[digest_of(b"x")] * 1001)
        assert set((await refusal_of(port.content.FindMissing(many))).violations) == {"digests"}
        odd = pb.FindMissingRequest(digests=[digest_of(b"x"), "md5:1"])
        assert set((await refusal_of(port.content.FindMissing(odd))).violations) == {"digests.1"}
        bad = pb.DownloadRequest(digest="nonsense", offset=-1)
        assert set((await refusal_of(port.content.Download(bad))).violations) == {"digest", "offset"}
        unknown = await refusal_of(port.content.Download(pb.DownloadRequest(digest=digest_of(b"unknown"))))
        assert (unknown.code, unknown.reason) == ("NOT_FOUND", "CONTENT_NOT_FOUND")
