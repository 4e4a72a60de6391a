"""Processes killed under load, every few seconds: every promise is kept all the same."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
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
from support.chaos import ENDS, Asker, Prey
from support.figures import tell
from support.hostile_plugin import HOSTILE
from support.postgres import PostgresServer, postgres_server
from support.steady_plugin import STEADY

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
    flags = "--devices", "cpu", "--plugin", STEADY, "--plugin", HOSTILE
    with Prey(tmp_path, *flags, warm_models="", drain_grace=1, database=database) as server:
        with convscope.connect(server.address, give_up_after=3600) as client:
            twins = [uninterrupted(client, seed) for seed in range(4)]
            askers = [Asker(server.address, random.Random(number)) for number in range(clients)]
            with asking(askers):
                kill_at_random(server, client, postgres, seconds)
            logs = {run: log for asker in askers for run, log in asker.logs.items()}
            for run, log in logs.items():
                assert_ended_once(client, run, log)
            results = {run: tensor for asker in askers for run, tensor in asker.results.items()}
            seeds = {run: seed for asker in askers for run, seed in asker.seeds.items()}
            assert all(tensor == twins[seeds[run]] for run, tensor in results.items())
            assert {run.id for run in client.runs(limit=100_000)} >= logs.keys()
            again = sum(sum(event.kind == "started" for event in log) > 1 for log in logs.values())
        server.look()
    assert server.orphans() == []
    assert_nothing_leaked(Settings(data_dir=tmp_path, database=database))
    assert again
    tell("chaos", {**server.kills, "runs": len(logs), "started again": again, "equal their twins": len(results)})


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


def uninterrupted(client: convscope.Client, seed: int) -> bytes:
    return client.visualize("steady.reel", seed=seed, **Asker.work()).result().tensors["reel"].tobytes()


def kill_at_random(server: Prey, client: convscope.Client, postgres: PostgresServer | None, seconds: float) -> None:
    """Each of them in any order, again and again."""
    victims = [lambda: server.lose_the_worker(client), server.lose_the_front_end]
    if postgres:
        victims.append(lambda: server.lose_the_database(postgres))
    dice, end = random.Random(5), time.monotonic() + seconds
    while time.monotonic() < end or len(server.kills) < len(victims):
        time.sleep(dice.uniform(1, 4))
        dice.choice(victims)()


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


def said(event: convscope.RunEvent) -> tuple[convscope.RunEvent, str]:
    """What two readings of one event have in common: their errors say the same, and are two."""
    return replace(event, error=None), str(event.error)


def assert_nothing_leaked(settings: Settings) -> None:
    """Everything is whole; and once the runs are gone, so is every file."""
    place = Place.of(settings)
    assert verify(place).damages == []
    collect(place, KeepLimits(seconds=1e-9, upload_seconds=1e-9))
    assert [path for path in (settings.data_dir / "content").rglob("*") if path.is_file()] == []
