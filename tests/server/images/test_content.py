from __future__ import annotations

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest

from convscope_server.errors import RequestError
from convscope_server.images.content import ContentStore, digest_of
from support.aio import eventually, in_loop

PICTURE = b"\x89PNG" + bytes(range(256)) * 8


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ContentStore:
    url = str(tmp_path / "content") if request.param == "file" else f"memory://{uuid4().hex}"
    return ContentStore(url, max_bytes=4096)


def files_of(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in tmp_path.rglob("*") if path.is_file())


@in_loop
async def test_what_was_put_is_got_by_its_digest(store: ContentStore) -> None:
    digest = await store.put(PICTURE)
    assert digest == digest_of(PICTURE)
    assert await store.put(PICTURE, digest) == digest
    assert await store.get(digest) == PICTURE
    assert await store.size(digest) == len(PICTURE)
    assert await store.read(digest, 10, 7) == PICTURE[10:17]
    assert await store.read(digest, len(PICTURE), 7) == b""


@in_loop
async def test_missing_names_what_is_not_there_once_and_in_order(store: ContentStore) -> None:
    here, one, two = await store.put(b"here"), digest_of(b"one"), digest_of(b"two")
    assert await store.missing([two, here, one, two]) == [two, one]


@in_loop
async def test_a_deleted_blob_is_gone_and_deleting_again_is_fine(store: ContentStore) -> None:
    digest = await store.put(PICTURE)
    await store.delete(digest)
    await store.delete(digest)
    for action in (store.get(digest), store.size(digest), store.read(digest, 0, 1)):
        with pytest.raises(RequestError) as refusal:
            await action
        assert (refusal.value.error.code, refusal.value.error.reason) == ("NOT_FOUND", "CONTENT_NOT_FOUND")


@pytest.mark.parametrize("name", ["", "sha256:", "sha256:../../../etc/passwd", "md5:" + "0" * 64, "sha256:" + "A" * 64])
@in_loop
async def test_nothing_but_a_digest_leads_anywhere(store: ContentStore, name: str) -> None:
    for action in (store.get(name), store.size(name), store.missing([name]), store.delete(name)):
        with pytest.raises(RequestError) as refusal:
            await action
        assert refusal.value.error.reason == "DIGEST_INVALID"
    with pytest.raises(RequestError):
        store.upload(name)


@in_loop
async def test_a_wrong_digest_is_refused_and_nothing_is_kept(tmp_path: Path) -> None:
    store = ContentStore(str(tmp_path))
    with pytest.raises(RequestError) as refusal:
        await store.put(PICTURE, digest_of(b"another"))
    assert refusal.value.error.reason == "DIGEST_MISMATCH"
    async with store.upload(digest_of(b"another")) as up:
        await up.write(PICTURE)
        with pytest.raises(RequestError) as refusal:
            await up.commit()
    assert refusal.value.error.reason == "DIGEST_MISMATCH"
    assert files_of(tmp_path) == []


@in_loop
async def test_an_upload_appears_only_when_committed(store: ContentStore) -> None:
    digest = digest_of(PICTURE)
    async with store.upload(digest) as up:
        for start in range(0, len(PICTURE), 100):
            await up.write(PICTURE[start : start + 100])
        assert await store.missing([digest]) == [digest]
        assert await up.commit() == digest
    assert up.size_bytes == len(PICTURE)
    assert await store.get(digest) == PICTURE


@in_loop
async def test_an_empty_blob_can_be_uploaded(store: ContentStore) -> None:
    async with store.upload(digest_of(b"")) as up:
        await up.commit()
    assert await store.get(digest_of(b"")) == b""


@in_loop
async def test_an_upload_that_is_broken_off_leaves_nothing_behind(tmp_path: Path) -> None:
    store = ContentStore(str(tmp_path))

    async def upload() -> None:
        async with store.upload(digest_of(PICTURE)) as up:
            await up.write(PICTURE[:100])
            await asyncio.sleep(60)

    task = asyncio.create_task(upload())
    await eventually(lambda: bool(files_of(tmp_path)))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert files_of(tmp_path) == []


@in_loop
async def test_more_than_the_limit_is_refused_before_it_is_written(tmp_path: Path) -> None:
    store = ContentStore(str(tmp_path), max_bytes=1000)
    with pytest.raises(RequestError) as refusal:
        await store.put(PICTURE)
    assert refusal.value.error.reason == "CONTENT_TOO_LARGE"
    async with store.upload(digest_of(PICTURE)) as up:
        await up.write(PICTURE[:1000])
        with pytest.raises(RequestError) as refusal:
            await up.write(PICTURE[1000:1001])
    assert refusal.value.error.metadata == {"max_bytes": "1000"}
    assert files_of(tmp_path) == []


@in_loop
async def test_the_same_blob_from_many_sides_at_once_is_kept_whole(store: ContentStore) -> None:
    digests = await asyncio.gather(*(store.put(PICTURE) for _ in range(16)))
    assert set(digests) == {digest_of(PICTURE)}
    assert await store.get(digests[0]) == PICTURE


@in_loop
async def test_sweep_removes_what_a_killed_upload_left_and_nothing_else(tmp_path: Path) -> None:
    store = ContentStore(str(tmp_path))
    assert await store.sweep() == 0
    digest = await store.put(PICTURE)
    up = store.upload(digest_of(b"never"))
    await up.write(b"half of it")
    assert await store.sweep() == 0
    assert await store.sweep(older_than=-1) == 0  # it goes on, whatever the clock says
    assert await ContentStore(str(tmp_path)).sweep(older_than=-1) == 1
    assert files_of(tmp_path) == [digest.removeprefix("sha256:")]
    await up.__aexit__(None, None, None)


@in_loop
async def test_a_negative_offset_is_refused(store: ContentStore) -> None:
    with pytest.raises(RequestError) as refusal:
        await store.read(await store.put(PICTURE), -1, 5)
    assert refusal.value.error.violations[0].field == "offset"


@in_loop
async def test_what_was_sent_or_found_here_is_not_dropped_before_it_is_used(store: ContentStore) -> None:
    sent, found = await store.put(b"sent"), await store.put(b"found")
    store.used([sent, found])
    assert await store.missing([found]) == []
    assert await store.drop([sent, found]) == len(b"sent")
    assert await store.missing([sent, found]) == [sent]
    store.used([found])
    assert await store.drop([found]) == len(b"found")
    assert await store.missing([found]) == [found]


@in_loop
async def test_a_lease_runs_out(tmp_path: Path) -> None:
    now = 1000.0
    store = ContentStore(str(tmp_path), lease_seconds=60, clock=lambda: now)
    digest = await store.put(PICTURE)
    assert await store.drop([digest]) == 0
    now += 61
    assert await store.drop([digest]) == len(PICTURE)


@in_loop
async def test_what_comes_into_use_while_holders_are_asked_stays(store: ContentStore) -> None:
    digest = await store.put(PICTURE)
    store.used([digest])

    async def asked(_: object) -> set[str]:
        await store.missing([digest])
        store.used([digest])
        return set()

    store.holders.append(asked)
    assert await store.drop([digest]) == 0
    assert await store.get(digest) == PICTURE


@in_loop
async def test_who_sends_again_what_is_on_its_way_out_waits_and_it_is_there(store: ContentStore) -> None:
    digest = await store.put(PICTURE)
    store.used([digest])
    going, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(_: object) -> None:
        going.set()
        await go_on.wait()

    store.forgetters.append(slowly)
    dropping = asyncio.create_task(store.drop([digest]))
    await going.wait()
    finding, sending = asyncio.create_task(store.missing([digest])), asyncio.create_task(store.put(PICTURE))
    await asyncio.sleep(0.01)
    assert not finding.done()
    assert not sending.done()
    go_on.set()
    assert await dropping == len(PICTURE)
    await asyncio.gather(finding, sending)
    assert await store.get(digest) == PICTURE
