from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path

from convscope_sdk.image_sets.parts import parts
from convscope_server.storage.archive import Archive
from convscope_server.storage.limits import KeepLimits
from support.aio import in_loop
from support.keeping import INDEX_BYTES, KeptStore

PICTURES = [b"one", b"two"]


def opened(folder: Path, *, seconds: float = 0.0) -> AbstractAsyncContextManager[KeptStore]:
    return KeptStore.opened(folder, KeepLimits(seconds=seconds))


async def tidied(kept: KeptStore) -> int:
    return (await kept.archive.retention().tidy()).index_bytes


@in_loop
async def test_the_index_of_a_deleted_set_goes_and_those_of_others_stay(tmp_path: Path) -> None:
    async with opened(tmp_path) as kept:
        await kept.make_set("mine", PICTURES)
        await kept.make_set("other", PICTURES)
        mine, other, folder = kept.use_index("mine"), kept.use_index("other"), kept.use_index("photos", "folder")
        kept.now += 1e9
        assert await tidied(kept) == 0
        await kept.delete_set("mine")
        assert await tidied(kept) >= INDEX_BYTES
        assert not mine.exists()
        assert {part.path for part in parts(kept.indexes)} == {other, folder}
        assert not await kept.archive.retention().tidy()


@in_loop
async def test_what_nobody_used_for_as_long_as_runs_are_kept_goes(tmp_path: Path) -> None:
    async with opened(tmp_path, seconds=100) as kept:
        old, used = kept.use_index("old", "folder"), kept.use_index("used", "samples")
        kept.now += 99
        assert await tidied(kept) == 0
        kept.use_index("used", "samples")
        kept.now += 2
        assert await tidied(kept) >= INDEX_BYTES
        assert not old.exists()
        assert used.exists()


@in_loop
async def test_what_was_used_since_a_live_run_was_submitted_stays_as_long_as_it_lives(tmp_path: Path) -> None:
    async with opened(tmp_path, seconds=100) as kept:
        run = await kept.submit()
        kept.now += 1
        part = kept.use_index("deleted")
        kept.now += 1000
        assert await tidied(kept) == 0
        await kept.end(run)
        assert await tidied(kept) >= INDEX_BYTES
        assert not part.exists()


@in_loop
async def test_what_a_waiting_run_will_use_stays(tmp_path: Path) -> None:
    async with opened(tmp_path, seconds=100) as kept:
        await kept.make_set("mine", PICTURES)
        kept.use_index("mine")
        kept.use_index("photos", "folder")
        kept.now += 1000
        runs = [await kept.submit(sets=["mine"]), await kept.submit(image_set="photos")]
        await kept.delete_set("mine")
        assert await tidied(kept) == 0
        for run in runs:
            await kept.end(run)
        assert await tidied(kept) >= 2 * INDEX_BYTES
        assert parts(kept.indexes) == []


@in_loop
async def test_a_server_that_keeps_no_indexes_has_none_to_remove(tmp_path: Path) -> None:
    async with opened(tmp_path) as kept:
        part = kept.use_index("deleted")
        kept.now += 1
        archive = Archive(kept.archive.runs, kept.archive.image_sets, kept.content, KeepLimits())
        assert not await archive.retention().tidy()
        assert part.exists()
