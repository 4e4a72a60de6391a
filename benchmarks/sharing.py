"""Whether principals share a device evenly: one who floods it, and nine who now and then want a picture."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from benchmarks.harness import Server, photograph, scratch
from benchmarks.result import Measure, Result, median, percentile

import convscope
from convscope_server.access.tokens import create_token

LIGHT = 9
FLOOD = 12
CALLS = 3
MOST_TIMES_ALONE = 2.0
LEAST_JAIN = 0.95


@dataclass(frozen=True, slots=True)
class House:
    """A server with its principals, and a picture that each has sent."""

    heavy: convscope.Client
    light: list[convscope.Client]
    digest: str

    @property
    def everybody(self) -> list[convscope.Client]:
        """All ten."""
        return [self.heavy, *self.light]


def run(*, quick: bool = False) -> Result:
    """Jain's index of device seconds while all ten want them; p95 of the Grad-CAMs of nine beside one, and alone."""
    window, rounds = (10.0, 1) if quick else (60.0, 5)
    with _house() as house:
        seconds = _shares(house, window)
        alone, beside = _waits(house, rounds)
    measures = (
        Measure("Jain's index of device seconds", _jain(seconds), LEAST_JAIN, at_least=True),
        Measure("p95 of light principals beside a heavy one / alone", beside / alone, MOST_TIMES_ALONE),
    )
    details = {"least_seconds": min(seconds), "most_seconds": max(seconds), "p95_alone": alone, "p95_beside": beside}
    return Result("sharing", measures, details)


def _waits(house: House, rounds: int) -> tuple[float, float]:
    """p95 of the light principals' calls alone and beside the flood, in turns: the machine has other work, too."""
    interval = LIGHT * 2 * median([_call(house.light[0], house.digest, time.perf_counter()) for _ in range(9)])
    alone: list[float] = []
    beside: list[float] = []
    for _ in range(rounds):
        alone += _calls(house, CALLS, interval)
        _flood(house.heavy, house.digest, FLOOD)
        time.sleep(2.0)
        beside += _calls(house, CALLS, interval)
        if not house.heavy.runs(state="queued"):
            raise RuntimeError("the flood was over before the last call came: nothing was measured; raise FLOOD")
        _stop(house)
    return percentile(alone, 95), percentile(beside, 95)


def _shares(house: House, window: float) -> list[float]:
    """Device seconds that each principal got within `window` seconds in which all wanted more."""
    _flood(house.heavy, house.digest, FLOOD)
    for client in house.light:
        _flood(client, house.digest, 1)
    time.sleep(5.0)
    before = [_device_seconds(client) for client in house.everybody]
    time.sleep(window)
    shares = [_device_seconds(client) - b for client, b in zip(house.everybody, before, strict=True)]
    _stop(house)
    return shares


def _device_seconds(client: convscope.Client) -> float:
    return sum(run.device_seconds for run in client.runs())


def _flood(client: convscope.Client, digest: str, runs: int) -> None:
    for _ in range(runs):
        client.visualize("deepdream", image=digest, octaves=1, steps=1000, detach=True, cache="bypass")


def _stop(house: House) -> None:
    for client in house.everybody:
        for run in itertools.chain(client.runs(state="queued"), client.runs(state="running")):
            client.cancel(run.id)


def _calls(house: House, count: int, interval: float) -> list[float]:
    """Latencies of `count` calls of each light principal; one comes every `interval` / 9 seconds, whoever is done."""
    with ThreadPoolExecutor(max_workers=LIGHT * count) as pool:
        pending = []
        for client in house.light * count:
            pending.append(pool.submit(_call, client, house.digest, time.perf_counter()))
            time.sleep(interval / LIGHT)
        return [future.result() for future in pending]


def _call(client: convscope.Client, digest: str, came: float) -> float:
    client.visualize("grad_cam", image=digest, previews=False, cache="bypass").result()
    return time.perf_counter() - came


def _jain(shares: list[float]) -> float:
    """1 where all have the same, 1 / n where one has all (Jain et al. 1984)."""
    return sum(shares) ** 2 / (len(shares) * sum(share**2 for share in shares))


@contextmanager
def _house() -> Iterator[House]:
    with scratch() as data, ExitStack() as stack:
        tokens = data / "tokens.toml"
        names = ["heavy", *(f"light{number}" for number in range(LIGHT))]
        secrets = [create_token(tokens, name)[0] for name in names]
        server = stack.enter_context(Server(data / "data", drain_grace=1, tokens_file=tokens))
        heavy, *light = (stack.enter_context(convscope.connect(server.address, token=secret)) for secret in secrets)
        digests = {client.upload(photograph()) for client in (heavy, *light)}
        yield House(heavy, light, digests.pop())
