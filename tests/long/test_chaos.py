"""Processes killed under load, every few seconds: every promise is kept all the same."""

from __future__ import annotations

import random
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

import convscope
from convscope_server.config import Settings
from convscope_server.storage.gc import collect
from convscope_server.storage.limits import KeepLimits
from convscope_server.storage.place import Place
from convscope_server.storage.verify import verify
from support.chaos import ENDS, REEL, WALK, Asker, Prey, Seen
from support.figures import tell
from support.hostile_plugin import HOSTILE
from support.postgres import PostgresServer, postgres_server
from support.steady_plugin import STEADY
from support.walking import WALKING

pytestmark = pytest.mark.slow


@pytest.fixture
def postgres() -> Iterator[PostgresServer | None]:
    """A database to kill; None where none is installed, and then the store is SQLite's file."""
    with ExitStack() as stack:
        try:
            server = stack.enter_context(postgres_server())
        except pytest.skip.Exception:
            server = None
        yield server


def test_whatever_is_killed_every_accepted_run_ends_once_and_as_if_nothing_had_happened(
    tmp_path: Path, postgres: PostgresServer | None, seconds: int, clients: int
) -> None:
    database = postgres.fresh() if postgres else ""
    flags = "--devices", "cpu", *(word for plugin in (STEADY, HOSTILE, WALKING) for word in ("--plugin", plugin))
    often = {"drain_grace": 1, "checkpoint_seconds": 0.3}
    with Prey(tmp_path, *flags, warm_models="", database=database, **often) as server:
        with convscope.connect(server.address, give_up_after=3600) as client:
            twins = {(work, seed): work.made(work.ask(client, seed)) for work in (REEL, WALK) for seed in range(4)}
            askers = [Asker(server.address, random.Random(number)) for number in range(clients)]
            with asking(askers):
                kill_at_random(server, client, postgres, seconds)
            runs = {run: seen for asker in askers for run, seen in asker.seen.items()}
            for run, seen in runs.items():
                assert_ended_once(client, run, seen.log)
                assert_goes_on(seen)
                assert_made_what_its_record_says(client, run, seen, twins[seen.work, seen.seed])
            assert {run.id for run in client.runs(limit=100_000)} >= runs.keys()
        server.look()
        assert_no_checkpoint_is_left(tmp_path)
    assert server.orphans() == []
    assert_nothing_leaked(Settings(data_dir=tmp_path, database=database))
    found = figures_of(runs.values())
    tell("chaos", {**server.kills, **found})
    assert all(found[what] for what in ("started again", "went on", "paused", "steered"))


@contextmanager
def asking(askers: Sequence[Asker]) -> Iterator[None]:
    """Within it they all ask; after it each has seen its last run end, and met nothing that it should not."""
    for asker in askers:
        asker.start()
    yield
    for asker in askers:
        asker.enough.set()
    for asker in askers:
        asker.join(600)
    assert [asker.trouble for asker in askers] == [[]] * len(askers)
    assert not any(asker.is_alive() for asker in askers)


def kill_at_random(server: Prey, client: convscope.Client, postgres: PostgresServer | None, seconds: float) -> None:
    """Each of them once in any order, again and again, and each at least once."""
    victims = [lambda: server.lose_the_worker(client), server.lose_the_front_end, server.roll]
    if postgres:
        victims.append(lambda: server.lose_the_database(postgres))
    dice, end = random.Random(5), time.monotonic() + seconds
    while time.monotonic() < end or len(server.kills) < len(victims):
        for lose in dice.sample(victims, len(victims)):
            time.sleep(dice.uniform(1, 4))
            lose()


def assert_ended_once(client: convscope.Client, run: str, seen: list[convscope.RunEvent]) -> None:
    log = list(client.attach(run, every_preview=True))
    assert [event.sequence for event in log] == list(range(1, len(log) + 1))
    assert [event.kind in ENDS for event in log] == [False] * (len(log) - 1) + [True]
    assert client.run(run).state == log[-1].kind
    whole = {event.sequence: said(event) for event in log}
    assert [said(event) for event in seen if event.kind != "gap"] == [
        whole[event.sequence] for event in seen if event.kind != "gap"
    ]
    places = [place for event in seen for place in range((event.gap or (event.sequence,))[0], event.sequence + 1)]
    assert places == list(range(1, len(log) + 1))


def assert_goes_on(seen: Seen) -> None:
    """A run that keeps checkpoints is lost only where it had kept none since it was started last."""
    if seen.work is WALK and seen.log[-1].kind == "failed":
        kinds = [event.kind for event in seen.log]
        assert "checkpointed" not in kinds[len(kinds) - kinds[::-1].index("started") :], seen.log[-1].error
    if seen.work is WALK and seen.log[-1].kind == "cancelled":
        assert seen.cancelled


def assert_made_what_its_record_says(client: convscope.Client, run: str, seen: Seen, twin: bytes) -> None:
    """The same as its uninterrupted twin; and one that was steered, the same as one that is steered as it was."""
    updates = client.run(run).updates
    assert set(seen.held) <= {update.params["step_size"] for update in updates} <= set(seen.asked)
    if seen.made is not None:
        repeated = seen.work.ask(client, seen.seed, updates=updates, pause=0, cache="bypass") if updates else None
        assert seen.made == (seen.work.made(repeated) if repeated else twin)


def assert_no_checkpoint_is_left(data: Path) -> None:
    end = time.monotonic() + 10  # files are removed behind the end of their runs
    while (left := list((data / "checkpoints").iterdir())) and time.monotonic() < end:
        time.sleep(0.1)
    assert left == []


def figures_of(runs: Collection[Seen]) -> dict[str, int]:
    never_paused = [seen for seen in runs if not seen.count("paused")]
    return {
        "runs": len(runs),
        "started again": sum(seen.count("started") > 1 for seen in runs),
        "went on": sum(any(event.kind == "started" and event.step for event in seen.log) for seen in never_paused),
        "paused": sum(seen.count("paused") > 0 for seen in runs),
        "steered": sum(seen.count("updated") > 0 for seen in runs),
        "lost before they were kept": sum(seen.work is WALK and seen.count("failed") for seen in runs),
        "equal their twins": sum(seen.made is not None for seen in runs),
    }


def said(event: convscope.RunEvent) -> tuple[convscope.RunEvent, str]:
    """What two readings of one event have in common: their errors say the same, and are two."""
    return replace(event, error=None), str(event.error)


def assert_nothing_leaked(settings: Settings) -> None:
    """Everything is whole; and once the runs are gone, so is every file."""
    place = Place.of(settings)
    assert verify(place).damages == []
    collect(place, KeepLimits(seconds=1e-9, upload_seconds=1e-9))
    assert [path for path in (settings.data_dir / "content").rglob("*") if path.is_file()] == []
