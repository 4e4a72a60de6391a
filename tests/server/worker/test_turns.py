"""Who has the device when: shares between principals, between one's runs, and by priority."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from convscope_server.engine.messages import RunSpec
from convscope_server.priority import Priority
from convscope_server.worker.turns import Turns


@dataclass(eq=False)
class Job:
    spec: RunSpec
    attained: float = 0.0


def job(owner: str, priority: Priority = "normal", attained: float = 0.0) -> Job:
    return Job(RunSpec("id", "x", "m", {}, owner=owner, priority=priority), attained)


def share(jobs: list[Job], turns: Turns, steps: int, seconds: float = 1.0) -> Counter[int]:
    """Device seconds that each job gets, by its place in the list."""
    got: Counter[int] = Counter()
    for _ in range(steps):
        chosen = turns.next(jobs)
        assert chosen is not None
        chosen.attained += seconds
        turns.took(chosen, seconds)
        got[jobs.index(chosen)] += 1
    return got


def jain(shares: list[float]) -> float:
    return sum(shares) ** 2 / (len(shares) * sum(share**2 for share in shares))


def test_nobody_is_next_where_there_is_nobody() -> None:
    assert Turns().next([]) is None


def test_one_principals_new_run_catches_up_with_their_older_one() -> None:
    old, new = job("ada", attained=10.0), job("ada")
    assert share([old, new], Turns(), 10) == {1: 10}


def test_a_principal_with_many_runs_gets_no_more_than_one_with_one() -> None:
    jobs = [*(job("heavy") for _ in range(8)), job("light")]
    got = share(jobs, Turns(), 100)
    assert got[8] == 50
    assert sorted(got[i] for i in range(8)) == [6, 6, 6, 6, 6, 6, 7, 7]


def test_one_heavy_and_nine_light_principals_share_evenly() -> None:
    jobs = [*(job("heavy") for _ in range(8)), *(job(f"light{n}") for n in range(9))]
    got = share(jobs, Turns(), 1000)
    owners = Counter[str]()
    for index, seconds in got.items():
        owners[jobs[index].spec.owner] += seconds
    assert jain(list(owners.values())) >= 0.99


def test_who_comes_late_gets_their_share_from_then_on_and_no_more() -> None:
    turns, early, late = Turns(), job("early"), job("late")
    share([early], turns, 500, 0.1)
    got = share([early, late], turns, 1000, 0.1)
    assert abs(got[0] - got[1]) * 0.1 <= 0.5 + 2 * 0.1


def test_whoever_comes_with_a_short_run_is_done_before_the_next_long_step_begins() -> None:
    turns, long = Turns(), job("busy")
    share([long], turns, 20, 0.2)
    short = job("zoe")
    assert share([long, short], turns, 5, 0.1) == {1: 5}


def test_coming_again_and_again_is_worth_one_head_start() -> None:
    turns, stays = Turns(), job("stays")
    share([stays], turns, 20, 0.1)
    got = Counter[str]()
    for _ in range(200):  # short runs with a step of the other's between them
        for jobs in ([stays, job("hops")], [stays]):
            chosen = turns.next(jobs)
            assert chosen is not None
            turns.took(chosen, 0.1)
            got[chosen.spec.owner] += 1
    assert got["hops"] <= got["stays"] + 6


def test_who_goes_and_comes_back_at_once_is_no_further_ahead() -> None:
    turns, stays = Turns(), job("stays")
    share([stays, job("hops")], turns, 10)
    got = Counter[str]()
    for _ in range(50):  # a new run for each step
        chosen = turns.next(jobs := [stays, job("hops")])
        assert chosen in jobs
        turns.took(chosen, 1.0)
        got[chosen.spec.owner] += 1
        turns.next([stays])
    assert got["hops"] <= 26


def test_priorities_share_by_their_weights() -> None:
    jobs = [job("ada", "interactive"), job("ada"), job("ada", "batch")]
    assert share(jobs, Turns(), 2100, 0.1) == {0: 1600, 1: 400, 2: 100}
    urgent, plain = job("ada", "interactive"), job("bob")
    assert share([urgent, plain], Turns(), 500, 0.1) == {0: 400, 1: 100}


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0.01, 5.0)), min_size=1, max_size=60))
def test_nobody_with_a_run_is_ever_further_behind_than_one_longest_step(steps: list[tuple[str, float]]) -> None:
    turns = Turns()
    jobs = {owner: job(owner) for owner in "abc"}
    lengths = dict.fromkeys("abc", 1.0) | dict(steps)
    got = dict.fromkeys("abc", 0.0)
    for _ in range(60):
        chosen = turns.next(jobs.values())
        assert chosen is not None
        owner = chosen.spec.owner
        turns.took(chosen, lengths[owner])
        got[owner] += lengths[owner]
        assert max(got.values()) - min(got.values()) <= max(lengths.values()) + 1e-6
