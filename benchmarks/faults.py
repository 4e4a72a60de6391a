"""What `kill -9` does to runs: of the worker, of the front end, of a client."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterable

import psutil
from benchmarks.harness import Server, photograph, scratch, serving, wait_until
from benchmarks.result import Measure, Result

import convscope

KILLS = 20
ENDS = frozenset({"succeeded", "failed", "cancelled"})

# A client that watches a dream until it is killed; its first line is the run's id.
CLIENT = """
import sys, convscope
run = convscope.connect(sys.argv[1]).visualize("deepdream", image=sys.argv[2], octaves=1, steps=1000)
print(run.id, flush=True)
for event in run: pass
"""


class Tally:
    """Runs that were accepted, and what became of them."""

    def __init__(self) -> None:
        self.accepted = 0
        self.ended_once = 0
        self.kept = 0
        self.finished = 0
        self.rounds = 0
        self.worked_again = 0

    def check(self, client: convscope.Client, runs: Iterable[str], finished: str) -> None:
        """After a kill: count the ends of each run, look for the finished one's results, and try the next run."""
        self.rounds += 1
        for run in runs:
            self.accepted += 1
            wait_until(lambda run=run: client.run(run).state in ENDS, seconds=90)  # type: ignore[misc]  # mypy infers no type for it
            self.ended_once += client.run(run).state in ENDS and _ends(client, run) == 1
        self.finished += 1
        self.kept += "overlay" in client.attach(finished).result().images
        self.worked_again += "overlay" in client.visualize("grad_cam", image=photograph()).result().images

    def measures(self, who: str) -> tuple[Measure, ...]:
        """Each as the part of all cases in which it went well."""
        return (
            Measure(f"{who}: runs with exactly one end", self.ended_once / self.accepted, 1.0, "", at_least=True),
            Measure(f"{who}: finished results kept", self.kept / self.finished, 1.0, "", at_least=True),
            Measure(f"{who}: next run works", self.worked_again / self.rounds, 1.0, "", at_least=True),
        )


def run(*, quick: bool = False) -> Result:
    """Parts of 20 kills each after which all was well, with nothing restarted by hand but the process killed."""
    kills = 2 if quick else KILLS
    worker, front, watcher = _kill_worker(kills), _kill_front_end(kills), _kill_client(kills)
    measures = (*worker.measures("worker"), *front.measures("front end"), *watcher.measures("client"))
    return Result("faults", measures, {"kills": 3 * kills, "runs": worker.accepted + front.accepted + watcher.accepted})


def _kill_worker(kills: int) -> Tally:
    tally = Tally()
    with serving() as (server, client):
        finished = _finished(client)
        for _ in range(kills):
            runs = [_dreaming(client), _dreaming(client, steps=3)]
            server.worker.send_signal(signal.SIGKILL)
            wait_until(lambda: any(device.state == "ready" for device in client.devices()), seconds=90)
            tally.check(client, runs, finished)
    return tally


def _kill_front_end(kills: int) -> Tally:
    tally = Tally()
    with scratch() as data:
        server = Server(data, drain_grace=1)
        server.start()
        for _ in range(kills):
            with convscope.connect(server.address) as client:
                finished = _finished(client)
                runs = [_dreaming(client), _dreaming(client, steps=1)]
                worker = server.worker
            server.kill()
            _wait_for_the_end(worker)
            server.start()
            with convscope.connect(server.address) as client:
                tally.check(client, runs, finished)
        server.stop()
    return tally


def _kill_client(kills: int) -> Tally:
    tally = Tally()
    with serving(disconnect_grace=0.5) as (server, client):
        finished, digest = _finished(client), client.upload(photograph())
        for _ in range(kills):
            command = [sys.executable, "-c", CLIENT, server.address, digest]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watcher:
                assert watcher.stdout is not None
                run = watcher.stdout.readline().strip()
                wait_until(lambda run=run: client.run(run).state == "running")  # type: ignore[misc]  # mypy infers no type for it
                watcher.kill()
            tally.check(client, [run], finished)
    return tally


def _finished(client: convscope.Client) -> str:
    run = client.visualize("grad_cam", image=photograph())
    run.result()
    return run.id


def _dreaming(client: convscope.Client, *, steps: int = 1000) -> str:
    """A detached dream that has begun."""
    run = client.visualize("deepdream", image=photograph(), octaves=1, steps=steps, detach=True)
    next(event for event in run if event.kind in {"progress", *ENDS})
    run.close()
    return run.id


def _ends(client: convscope.Client, run: str) -> int:
    """How many events of the run's whole log end it."""
    return sum(event.kind in ENDS for event in client.attach(run, every_preview=True))


def _wait_for_the_end(worker: psutil.Process) -> None:
    """A worker whose front end is gone ends by itself."""
    if not wait_until(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE, seconds=30):
        raise RuntimeError(f"the worker {worker.pid} outlived its front end by 30 s")
