"""Streams cut at random events by a bad network: what arrives is the run's log, whole and in order."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any, Literal

import pytest

import convscope
from convscope import _transport, aio
from convscope.events import RunEvent
from convscope.testing import ServerProcess
from support.bad_network import Fate, bad_network
from support.figures import tell

pytestmark = pytest.mark.slow

PAIRS = 8
# A silent connection is noticed within three seconds, not half a minute, so that the test does not only wait; and
# each client has a connection of its own, which gRPC would share among those of one process.
QUICK = {
    "grpc.keepalive_time_ms": 500,
    "grpc.keepalive_timeout_ms": 2500,
    "grpc.http2.ping_timeout_ms": 2500,
    "grpc.use_local_subchannel_pool": 1,
}


@pytest.fixture(autouse=True)
def quick_to_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_transport, "_OPTIONS", tuple({**dict(_transport._OPTIONS), **QUICK}.items()))


def fates(least: int, most: int) -> Callable[[random.Random], Fate]:
    """After so many bytes the end: four in five are reset, the others fall silent; every fifth is slow too."""

    def cut(dice: random.Random) -> Fate:
        how: Literal["reset", "silence"] = "silence" if dice.random() < 0.2 else "reset"
        slow = dice.random() < 0.2
        return Fate(dice.randint(least, most), how, jitter=0.5 if slow else 0.0, loss=True)

    return cut


def watch(address: str, run: str) -> list[RunEvent]:
    with convscope.connect(address) as client:
        return list(client.attach(run, every_preview=True))


async def watch_in_a_loop(address: str, run: str) -> list[RunEvent]:
    async with aio.connect(address) as client:
        return [event async for event in await client.attach(run, every_preview=True)]


async def all_logs(address: str, run: str) -> list[list[RunEvent]]:
    """What both kinds of clients see, all at once and each on a connection of its own."""
    threads = [asyncio.to_thread(watch, address, run) for _ in range(PAIRS)]
    return await asyncio.gather(*threads, *(watch_in_a_loop(address, run) for _ in range(PAIRS)))


def test_no_event_is_lost_doubled_or_out_of_order_however_often_its_stream_is_cut(
    server: ServerProcess, cuts: int
) -> None:
    rounds = events = 0
    with convscope.connect(server.address) as straight, bad_network(server.address, fates(500, 30_000)) as network:
        while sum(network.cuts.values()) < cuts:
            # The watchers see its beginning live; those that are cut read on in its log.
            run = straight.visualize(
                "steady.reel", model="tiny", steps=300, pause=0.005, edge=24, detach=True, cache="bypass"
            )
            logs = asyncio.run(all_logs(network.address, run.id))
            whole = list(straight.attach(run.id, every_preview=True))
            assert [event.sequence for event in whole] == list(range(1, len(whole) + 1))
            assert all(log == whole for log in logs)
            rounds, events = rounds + 1, events + len(whole) * len(logs)
        tell("cuts", {**network.cuts, "runs": rounds, "events compared": events})


# Pictures and tensors of a megabyte or two: more than most connections live for.
LARGE: dict[str, Any] = {
    "model": "tiny",
    "steps": 3,
    "edge": 400,
    "cache": "bypass",
    "labels": {"through": "a bad network"},
}


def ask(address: str, seed: int) -> tuple[str, bytes]:
    with convscope.connect(address) as client:
        run = client.visualize("steady.reel", seed=seed, **LARGE)
        return run.id, run.result().tensors["reel"].tobytes()


async def ask_in_a_loop(address: str, seed: int) -> tuple[str, bytes]:
    async with aio.connect(address) as client:
        run = await client.visualize("steady.reel", seed=seed, **LARGE)
        return run.id, (await run.result()).tensors["reel"].tobytes()


async def ask_often(address: str, runs: int) -> list[tuple[str, bytes]]:
    threads = [asyncio.to_thread(ask, address, seed) for seed in range(0, runs, 2)]
    return await asyncio.gather(*threads, *(ask_in_a_loop(address, seed) for seed in range(1, runs, 2)))


def test_a_run_asked_for_through_a_bad_network_is_accepted_once_and_its_large_results_are_whole(
    server: ServerProcess,
) -> None:
    with bad_network(server.address, fates(500, 1_500_000)) as network:
        got = asyncio.run(ask_often(network.address, PAIRS))
    with convscope.connect(server.address) as straight:
        runs = straight.runs(labels=LARGE["labels"])
        assert sorted(run.id for run in runs) == sorted(run for run, _ in got)
        for run, tensor in got:
            assert straight.attach(run).result().tensors["reel"].tobytes() == tensor
    tell("large results", {**network.cuts, "runs": len(runs)})
