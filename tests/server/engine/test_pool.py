"""What an engine keeps about its workers, with workers that only listen."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from convscope_server.engine.messages import (
    Attained,
    Cancel,
    Command,
    Events,
    Hello,
    LoadedModel,
    LoadModel,
    Models,
    OutOfMemory,
    PluginInfo,
    Reply,
    RunSpec,
    Start,
    TechniqueInfo,
    UnloadModel,
)
from convscope_server.engine.options import Environment
from convscope_server.engine.pool import WorkerPool, worker_lost
from convscope_server.engine.seat import Culprit, Seat
from convscope_server.errors import RequestError
from convscope_server.runs.events import Error, Started, Succeeded
from convscope_server.runs.events import Report as RunReport
from support.listening import Listening


class Ear:
    def __init__(self) -> None:
        self.heard: list[Command] = []

    def post(self, command: Command) -> None:
        self.heard.append(command)


class Pool(WorkerPool):
    def __init__(self, devices: tuple[str, ...], max_live_runs: int = 2, memory_bytes: int = 0) -> None:
        super().__init__(max_live_runs)
        self._listener = self.heard = Listening()
        self.seats = self._take_seats(devices)
        self.ears = [Ear() for _ in devices]
        for seat, ear in zip(self.seats, self.ears, strict=True):
            hello = Hello(seat.device, 1, (TechniqueInfo("t", "s", "{}"),), (), (), memory_bytes=memory_bytes)
            self.seat_worker(seat, ear, hello)


def spec(run: str, model: str = "m") -> RunSpec:
    return RunSpec(run, "t", model, {})


def started(pool: Pool) -> list[list[str]]:
    return [[c.spec.id for c in ear.heard if isinstance(c, Start)] for ear in pool.ears]


async def test_runs_go_where_their_model_is_and_else_where_least_is_done() -> None:
    pool = Pool(("a", "b"), max_live_runs=3)
    pool.handle(pool.seats[1], Models((LoadedModel("m", 1),)))
    assert pool.try_start(spec("1"))
    assert pool.try_start(spec("2"))
    assert pool.try_start(spec("3", model="other"))
    assert started(pool) == [["3"], ["1", "2"]]


async def test_a_full_engine_says_so_and_has_room_again_when_a_run_ends() -> None:
    pool = Pool(("a",))
    assert [pool.try_start(spec(run)) for run in "123"] == [True, True, False]
    rooms = pool.heard.rooms
    pool.handle(pool.seats[0], Events("1", (Succeeded(RunReport()),)))
    assert pool.heard.rooms == rooms + 1
    assert pool.try_start(spec("3"))


async def test_whoever_has_none_on_a_full_device_finds_room_there() -> None:
    pool = Pool(("a",))
    start = [("1", "ada"), ("2", "ada"), ("3", "ada"), ("4", "bob"), ("5", "bob"), ("6", "cyd")]
    taken = [pool.try_start(RunSpec(run, "t", "m", {}, owner=owner)) for run, owner in start]
    assert taken == [True, True, False, True, False, True]
    others = [pool.try_start(RunSpec(f"by {n}", "t", "m", {}, owner=f"{n}")) for n in range(10)]
    assert others == [True] * 4 + [False] * 6  # eight are four times as many as may be there


async def test_what_does_not_fit_beside_others_waits_and_alone_it_starts() -> None:
    pool = Pool(("a",), max_live_runs=8, memory_bytes=1000)
    large, small = RunSpec("large", "large", "m", {}), RunSpec("small", "small", "m", {})
    for run, held, peak in ((large, 100, 900), (small, 100, 200)):
        assert pool.try_start(run)
        pool.handle(pool.seats[0], Attained(run.id, 1.0, held, peak))
        pool.handle(pool.seats[0], Events(run.id, (Succeeded(RunReport()),)))
    assert pool.try_start(large)
    assert pool.try_start(small)  # both hold 100, and the largest step takes 800 more
    assert not pool.try_start(msgspec.structs.replace(small, id="second"))
    assert pool.waits_for_memory(small)
    pool.handle(pool.seats[0], Events("large", (Succeeded(RunReport()),)))
    assert pool.try_start(msgspec.structs.replace(small, id="second"))
    assert not pool.waits_for_memory(small)


async def test_models_and_what_live_runs_have_turned_out_to_take_count_too() -> None:
    pool = Pool(("a",), max_live_runs=8, memory_bytes=1000)
    assert pool.try_start(spec("1"))
    pool.handle(pool.seats[0], Attained("1", 1.0, 100, 300))
    other = RunSpec("2", "other", "m", {})
    assert pool.try_start(other)
    pool.handle(pool.seats[0], Models((LoadedModel("m", 800),)))
    assert not pool.try_start(msgspec.structs.replace(other, id="3"))


async def test_a_run_that_ran_out_of_memory_is_off_its_worker_and_what_it_had_is_known() -> None:
    pool = Pool(("a",), memory_bytes=1000)
    assert pool.try_start(spec("1"))
    pool.handle(pool.seats[0], Attained("1", 1.0, 10, 990))
    rooms = pool.heard.rooms
    pool.handle(pool.seats[0], OutOfMemory("1"))
    pool.handle(pool.seats[0], OutOfMemory("1"))
    assert pool.heard.short == ["1"]
    assert pool.heard.rooms == rooms + 1
    assert pool.devices()[0].runs == ()
    assert pool.try_start(RunSpec("beside", "other", "m", {}))
    assert pool.try_start(spec("1"))
    pool.handle(pool.seats[0], Attained("beside", 1.0, 20, 20))
    assert not pool.try_start(RunSpec("third", "third", "m", {}))


async def test_what_runs_had_taken_when_their_worker_was_lost_is_known() -> None:
    pool = Pool(("a",), memory_bytes=1000)
    assert pool.try_start(spec("1"))
    pool.handle(pool.seats[0], Attained("1", 1.0, 10, 990))
    pool.empty_seat(pool.seats[0], worker_lost("a", "was killed"))
    pool.seat_worker(pool.seats[0], pool.ears[0], Hello("a", 2, (), (), (), memory_bytes=1000))
    assert pool.try_start(RunSpec("beside", "other", "m", {}))
    pool.handle(pool.seats[0], Attained("beside", 1.0, 20, 20))
    assert pool.waits_for_memory(spec("1"))


async def test_what_a_run_has_taken_is_told_while_it_is_there() -> None:
    pool = Pool(("a",))
    pool.try_start(spec("1"))
    pool.handle(pool.seats[0], Attained("1", 0.6))
    pool.handle(pool.seats[0], Attained("2", 5.0))
    assert pool.heard.attained == {"1": 0.6}


async def test_a_lost_worker_tells_of_each_of_its_runs_once_and_whether_it_had_begun() -> None:
    pool = Pool(("a",), max_live_runs=3)
    for run in "123":
        pool.try_start(spec(run))
    pool.handle(pool.seats[0], Events("1", (Started("a"),)))
    pool.handle(pool.seats[0], Events("2", (Started("a"), Succeeded(RunReport()))))
    stalled = Error("DEADLINE_EXCEEDED", "took too long", "STEP_STALLED")
    pool.empty_seat(pool.seats[0], worker_lost("a", "was killed"), culprit=Culprit("1", stalled))
    assert pool.heard.lost == {"1": (True, stalled), "3": (False, worker_lost("a", "was killed"))}
    assert pool.heard.blame == {"1": "certain", "3": "none"}
    assert not pool.ready
    assert not pool.try_start(spec("4"))
    assert not pool.cancel("1", "requested")


async def test_events_of_a_run_that_the_worker_has_not_got_are_dropped() -> None:
    pool = Pool(("a",))
    pool.handle(pool.seats[0], Events("ghost", (Succeeded(RunReport()),)))
    assert "ghost" not in pool.heard.logs


async def test_cancel_reaches_the_worker_that_has_the_run() -> None:
    pool = Pool(("a", "b"))
    pool.try_start(spec("1"))
    assert pool.cancel("1", "draining")
    assert pool.ears[0].heard[-1] == Cancel("1", "draining")
    assert not pool.cancel("2", "requested")


async def test_replies_find_their_questions_and_errors_are_raised() -> None:
    pool = Pool(("a", "b"))
    loading = asyncio.create_task(pool.load_model("m", "b"))
    await asyncio.sleep(0)
    command = pool.ears[1].heard[-1]
    assert isinstance(command, LoadModel)
    pool.handle(pool.seats[1], Reply(command.request, loaded=LoadedModel("m", 5)))
    assert await loading == ("b", LoadedModel("m", 5))

    unloading = asyncio.create_task(pool.unload_model("m", "b"))
    await asyncio.sleep(0)
    command = pool.ears[1].heard[-1]
    assert isinstance(command, UnloadModel)
    pool.handle(pool.seats[1], Reply(command.request, error=Error("FAILED_PRECONDITION", "in use", "MODEL_IN_USE")))
    with pytest.raises(RequestError, match="in use"):
        await unloading


async def test_questions_to_a_worker_that_dies_are_answered_with_its_loss() -> None:
    pool = Pool(("a",))
    asking = asyncio.create_task(pool.describe_model("m"))
    await asyncio.sleep(0)
    pool.empty_seat(pool.seats[0], worker_lost("a", "was killed by SIGKILL"))
    with pytest.raises(RequestError, match="SIGKILL"):
        await asking
    with pytest.raises(RequestError, match="no worker is ready"):
        await pool.describe_model("m")


async def test_an_unknown_device_is_refused_with_near_names() -> None:
    with pytest.raises(RequestError, match="did you mean 'cuda:0'"):
        await Pool(("cuda:0",)).load_model("m", "cuda:9")


async def test_a_seat_without_worker_is_starting() -> None:
    pool = Pool(("a",))
    pool._seats.append(Seat("b"))
    assert [(d.name, d.state) for d in pool.devices()] == [("a", "ready"), ("b", "starting")]


async def test_a_plugins_own_worker_gets_its_runs_and_no_others() -> None:
    pool = Pool(("a",), max_live_runs=1)
    ear = Ear()
    seat = Seat("a", Environment("acme", "/bin/python"))
    pool._seats.append(seat)
    pool.seat_worker(
        seat, ear, Hello("a", 2, (TechniqueInfo("acme.x", "s", "{}"),), (PluginInfo("acme", "acme", "1"),), ())
    )
    assert set(pool.catalog.techniques) == {"t", "acme.x"}
    assert (pool.lane("acme.x"), pool.lane("t")) == ("acme", "")
    assert pool.try_start(RunSpec("own", "acme.x", "m", {}))
    assert not pool.try_start(RunSpec("own2", "acme.x", "m", {}))
    assert pool.try_start(spec("1"))
    assert not pool.try_start(spec("2"))
    assert [c.spec.id for c in ear.heard if isinstance(c, Start)] == ["own"]
    assert [d.name for d in pool.devices()] == ["a", "a/acme"]
    pool.empty_seat(seat, worker_lost("a", "was killed"))
    assert pool.lane("acme.x") == "acme"
    assert not pool.try_start(RunSpec("own3", "acme.x", "m", {}))
