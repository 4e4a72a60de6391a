"""`convscope admin` on a store that a server left, and on one that was hurt."""

from __future__ import annotations

import json
import os
import sqlite3
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from convscope.cli import exits
from convscope.cli.app import build
from convscope_sdk.image_sets.parts import parts
from convscope_server.images.content import digest_of
from convscope_server.runs.lock import lock_data_dir
from convscope_server.runs.store import RunStore
from convscope_server.storage.limits import KeepLimits
from support.aio import in_loop
from support.keeping import KeptStore
from support.postgres import PostgresServer

INPUT, RESULT, BIG = b"\x89PNG an input", b"a result", b"b" * 3_000_000


@in_loop
async def kept(folder: Path, database: str = "") -> None:
    """Three ended runs and a live one, a set, a forgotten upload and a broken-off one, all of long ago."""
    async with KeptStore.opened(folder, KeepLimits(), database) as store:
        first, second, third = [await store.submit([INPUT]) for _ in range(3)]
        await store.result(first, RESULT)
        await store.result(second, BIG)
        for run in (first, second, third):
            store.now += 10
            await store.end(run)
        await store.submit([b"of a live run"])
        await store.make_set("mine", [b"a picture", INPUT])
        store.now -= 50
        for name in ("mine", "deleted"):
            store.use_index(name)
        store.now += 50
        await store.send(b"forgotten")
        await store.begin_upload(b"broken off")
        store.uploads[0][0]._file.close()
        os.utime(store.uploads[0][0]._temporary, (store.now, store.now))
        (folder / "ids").write_text("\n".join(run.id for run in (first, second, third)))


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    kept(folder)
    monkeypatch.setenv("CONVSCOPE_DATA_DIR", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


def ids(data: Path) -> list[str]:
    return (data / "ids").read_text().split()


def admin(*words: str, code: int = exits.OK) -> Result:
    done = CliRunner().invoke(build(), ["admin", *words])
    assert done.exit_code == code, done.output + done.stderr
    return done


def blob(data: Path, content: bytes) -> Path:
    name = digest_of(content).removeprefix("sha256:")
    return data / "content" / name[:2] / name


def state(data: Path) -> tuple[list[Path], list[str]]:
    with closing(sqlite3.connect(data / "runs.db")) as database:
        lines = [line for line in database.iterdump() if line.startswith("INSERT")]
    kept = [path for folder in ("content", "index") for path in (data / folder).rglob("*")]
    return sorted(path for path in kept if path.is_file()), lines


def test_gc_says_what_would_go_and_then_removes_just_that(data: Path) -> None:
    before = state(data)
    said = admin("gc", "--dry-run", "--keep-bytes", "1 MiB")
    assert state(data) == before
    assert said.stdout.split() == ids(data)[:2]
    assert "would remove 2 runs" in said.stderr
    assert "2.9 MiB of files, 4.9 KiB of indexes and 1 broken-off uploads" in said.stderr
    done = admin("gc", "--keep-bytes", "1 MiB")
    assert done.stdout == said.stdout
    assert done.stderr == said.stderr.replace("would remove", "removed")
    assert not any(blob(data, content).exists() for content in (RESULT, BIG, b"forgotten"))
    assert all(blob(data, content).exists() for content in (INPUT, b"of a live run", b"a picture"))
    assert [part.set_name for part in parts(data / "index")] == ["mine"]
    assert "all whole" in admin("verify").stderr
    assert "removed 0 runs" in admin("gc", "--keep-bytes", "1 MiB").stderr


def test_gc_gives_the_room_back_to_the_disk(data: Path) -> None:
    with closing(sqlite3.connect(data / "runs.db")) as database, database:
        database.execute("UPDATE run_events SET payload = zeroblob(2000000) WHERE sequence = 1")
    size = (data / "runs.db").stat().st_size
    assert admin("gc", "--keep-seconds", "1").stdout.split() == ids(data)
    assert (data / "runs.db").stat().st_size < size - 5_000_000


def test_gc_leaves_a_running_servers_store_to_the_server(data: Path) -> None:
    with lock_data_dir(data):
        for more in ((), ("--dry-run",)):
            assert "in use by another convscope server" in admin("gc", *more, code=exits.REFUSED).stderr
        assert "all whole" in admin("verify").stderr
        admin("export", ids(data)[0], "out")


@pytest.mark.parametrize("command", [("gc",), ("gc", "--dry-run"), ("verify",), ("export", "1", "out")])
def test_where_there_is_no_store_it_says_so_and_makes_none(command: tuple[str, ...], tmp_path: Path) -> None:
    done = admin(*command, "--data", str(tmp_path / "nowhere"), code=exits.NOT_FOUND)
    assert "there is no store in" in done.stderr
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("command", [("gc", "--dry-run"), ("verify",), ("export", "1", "out")])
def test_a_store_of_another_version_is_left_to_it(command: tuple[str, ...], data: Path) -> None:
    with closing(sqlite3.connect(data / "runs.db")) as database, database:
        database.execute("UPDATE meta SET value = '1' WHERE key = 'schema_version'")
    assert "schema version 1" in admin(*command, code=exits.REFUSED).stderr


def test_export_writes_a_run_that_can_be_read_without_convscope(data: Path) -> None:
    admin("export", ids(data)[0], "out")
    said = json.loads(Path("out/run.json").read_text())
    assert (said["run"], said["state"], said["request"]["technique"]) == (ids(data)[0], "succeeded", "grad_cam")
    assert Path("out", said["inputs"]["0"]).read_bytes() == INPUT
    assert said["inputs"]["0"].endswith(".png")
    lines = [json.loads(line) for line in Path("out/events.jsonl").read_text().splitlines()]
    assert [line["sequence"] for line in lines] == list(range(1, said["events"] + 1))
    assert [line["event"] for line in lines] == ["accepted", "queued", "result", "started", "succeeded"]
    (made,) = [line["artifact"] for line in lines if line["event"] == "result"]
    assert Path("out", made["file"]).read_bytes() == RESULT
    assert made["digest"] == digest_of(RESULT)
    assert lines[0]["time"] == said["create_time"]
    assert "events.jsonl" in Path("out/README.txt").read_text()


def test_a_zip_holds_what_the_folder_does(data: Path) -> None:
    admin("export", ids(data)[1], "folder")
    admin("export", ids(data)[1], "run.zip")
    with zipfile.ZipFile("run.zip") as archive:
        inside = {name: archive.read(name) for name in archive.namelist()}
    assert inside == {str(p.relative_to("folder")): p.read_bytes() for p in Path("folder").rglob("*") if p.is_file()}
    assert sorted(path.name for path in Path().iterdir()) == ["data", "folder", "run.zip"]


def test_export_writes_over_nothing_and_knows_no_other_run(data: Path) -> None:
    Path("out").mkdir()
    assert "exists" in admin("export", ids(data)[0], "out", code=exits.USAGE).stderr
    assert "no run 'f00'" in admin("export", "f00", "new", code=exits.NOT_FOUND).stderr
    assert not Path("new").exists()


def test_export_of_a_run_whose_file_is_lost_says_which_and_writes_the_rest(data: Path) -> None:
    blob(data, RESULT).unlink()
    assert digest_of(RESULT) in admin("export", ids(data)[0], "out", code=exits.FAILED).stderr
    assert '"file":null' in Path("out/events.jsonl").read_text()


def test_a_store_in_postgresql_is_tidied_exported_and_verified_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres: PostgresServer
) -> None:
    data, url = tmp_path / "data", postgres.fresh()
    data.mkdir()
    kept(data, url)
    for name, value in (("DATA_DIR", str(data)), ("DATABASE", url)):
        monkeypatch.setenv(f"CONVSCOPE_{name}", value)
    monkeypatch.chdir(tmp_path)
    assert "all whole" in admin("verify").stderr
    said = admin("gc", "--dry-run", "--keep-bytes", "1 MiB")
    assert said.stdout.split() == ids(data)[:2]
    assert "all whole" in admin("verify").stderr
    admin("export", ids(data)[0], "out")
    assert len(Path("out/events.jsonl").read_text().splitlines()) == 5
    assert admin("gc", "--keep-bytes", "1 MiB").stdout == said.stdout
    assert not blob(data, BIG).exists()
    blob(data, INPUT).unlink()
    assert f"{digest_of(INPUT)} is missing" in admin("verify", code=exits.FAILED).stdout
    store = RunStore(url)
    store.open()
    assert "is in use by another convscope server" in admin("gc", code=exits.REFUSED).stderr
    store.close()
    monkeypatch.setenv("CONVSCOPE_DATABASE", "postgresql://ada:secret@127.0.0.1:1/none")
    unreachable = admin("verify", code=exits.UNREACHABLE).stderr
    assert "cannot use postgresql+psycopg://ada:***@127.0.0.1:1/none" in unreachable
    assert "secret" not in unreachable


Hurt = Callable[[Path], str]


def lost_blob(data: Path) -> str:
    blob(data, RESULT).unlink()
    return f"{digest_of(RESULT)} is missing; run {ids(data)[0]} refers to it"


def lost_member(data: Path) -> str:
    blob(data, b"a picture").unlink()
    return f"{digest_of(b'a picture')} is missing; image set 'mine' refers to it"


def turned_bit(data: Path) -> str:
    path = blob(data, BIG)
    path.write_bytes(BIG[:-1] + b"c")
    return f"{digest_of(BIG)} is damaged: its bytes have the digest {digest_of(BIG[:-1] + b'c')}"


def stranger(data: Path) -> str:
    path = data / "content" / "ab" / "notes.txt"
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")
    return f"{path} is no blob of this store"


def sql(statement: str, said: str) -> Hurt:
    def hurt(data: Path) -> str:
        first, second, _ = ids(data)
        with closing(sqlite3.connect(data / "runs.db")) as database, database:
            database.execute(statement.format(first=first, second=second))
        return said.format(first=first, second=second)

    return hurt


def torn_database(data: Path) -> str:
    with closing(sqlite3.connect(data / "runs.db")) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        page = database.execute("SELECT rootpage FROM sqlite_master WHERE name = 'run_events'").fetchone()[0]
    with (data / "runs.db").open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xff" * 4096)
    return "the database"


DAMAGES: dict[str, Hurt] = {
    "a blob is lost": lost_blob,
    "a picture of a set is lost": lost_member,
    "a bit of a blob turned": turned_bit,
    "a stranger among the blobs": stranger,
    "an event in the middle is lost": sql(
        "DELETE FROM run_events WHERE run = '{first}' AND sequence = 2", "run {first}: events 2 to 2 are missing"
    ),
    "the last event is lost": sql(
        "DELETE FROM run_events WHERE run = '{first}' AND terminal", "run {first}: events 5 to 5 are missing"
    ),
    "an event is unreadable": sql(
        "UPDATE run_events SET payload = x'00' WHERE run = '{first}' AND sequence = 1", "run {first}: event 1 cannot"
    ),
    "a state is wrong": sql(
        "UPDATE runs SET state = 'failed' WHERE id = '{second}'",
        "run {second}: it is failed, and its last event is Succeeded",
    ),
    "an end is forgotten": sql(
        "UPDATE runs SET end_time = NULL WHERE id = '{second}'",
        "run {second}: it is succeeded, and its last event is Succeeded",
    ),
    "a log without a run": sql("DELETE FROM runs WHERE id = '{first}'", "refers to nothing in runs"),
    "the database is torn": torn_database,
}


@pytest.mark.parametrize("hurt", DAMAGES.values(), ids=DAMAGES)
def test_verify_names_each_damage_and_nothing_else(hurt: Hurt, data: Path) -> None:
    assert "all whole" in admin("verify").stderr
    said = hurt(data)
    damages = admin("verify", code=exits.FAILED).stdout.splitlines()
    assert any(said in damage for damage in damages)
    assert len(damages) == 1 or "database" in said or "nothing in runs" in said or "last" in said or "5 to 5" in said


def test_verify_holds_small_artifacts_against_their_digests_too(data: Path) -> None:
    import msgspec

    from convscope_server.runs.events import Result as ResultEvent
    from support.fake_engine import artifact

    made = msgspec.structs.replace(artifact("x"), digest=digest_of(b"another"))
    payload = msgspec.msgpack.encode(ResultEvent(made))
    with closing(sqlite3.connect(data / "runs.db")) as database, database:
        database.execute("UPDATE run_events SET payload = ? WHERE run = ? AND sequence = 2", (payload, ids(data)[0]))
    (damage,) = admin("verify", code=exits.FAILED).stdout.splitlines()
    assert damage == f"run {ids(data)[0]}: event 2 holds {digest_of(b'picture')}, not {made.digest}"
