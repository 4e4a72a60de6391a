"""What all attributions have from the one place that makes them techniques: states, and steps."""

from __future__ import annotations

from typing import Any

import pytest

from convscope_sdk.conformance import Subject, check_goes_on_where_it_was_put_down
from convscope_sdk.conformance.recording import same
from convscope_sdk.events import Event, Progress
from convscope_sdk.inprocess import start
from convscope_sdk.state import Memory, Saved
from convscope_sdk.technique import Technique
from convscope_techniques import convscope_techniques
from convscope_techniques.attribution import batches
from convscope_techniques.attribution.params import ScoredParams
from support.collected import Collected
from support.pictures import photo
from support.zoo import tiny

ATTRIBUTIONS: dict[str, Technique[Any]] = {
    each.id: each for each in convscope_techniques() if issubclass(each.params, ScoredParams)
}
LONG: dict[str, dict[str, Any]] = {
    "occlusion": {"window": 8, "stride": 8},
    "rise": {"samples": 20},
    "score_cam": {},
    "smoothgrad": {"samples": 10},
    "integrated_gradients": {"steps": 3, "tolerance": 1e-6},
}
SHORT = sorted(ATTRIBUTIONS.keys() - LONG.keys())


def _run(identifier: str, kept: list[Saved] | None = None, **options: Any) -> list[Event]:
    def keep(memory: Memory) -> None:
        if kept is not None:
            kept.append(memory.save().by_way_of_json())

    params = {**LONG.get(identifier, {}), **options.pop("params", {})}
    return list(start(ATTRIBUTIONS[identifier], tiny(), photo(), keep=keep, seed=3, params=params, **options))


@pytest.mark.parametrize("params", [{"batch": 1}, {"batch": 3, "scores": "full"}], ids=["alone", "scored"])
@pytest.mark.parametrize("identifier", LONG)
def test_a_long_one_goes_on_where_it_was_put_down(identifier: str, params: dict[str, Any]) -> None:
    check_goes_on_where_it_was_put_down(Subject(ATTRIBUTIONS[identifier], params={**LONG[identifier], **params}))


@pytest.mark.parametrize("identifier", SHORT)
def test_a_short_one_goes_on_where_it_was_scored(identifier: str) -> None:
    check_goes_on_where_it_was_put_down(Subject(ATTRIBUTIONS[identifier], params={"scores": "full"}))


@pytest.mark.parametrize("identifier", SHORT)
def test_a_short_one_takes_one_step(identifier: str) -> None:
    assert [(p.step, p.total) for p in Collected(iter(_run(identifier))).all(Progress)] == [(1, 1)]


@pytest.mark.parametrize("identifier", LONG)
def test_a_run_taken_up_where_there_is_more_memory_keeps_its_batch(
    identifier: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the same bits, in the randomisation check's maps too."""
    kept: list[Saved] = []
    monkeypatch.setattr(batches, "_CPU_PIXELS", 4 * 32 * 32)
    whole = _run(identifier, kept, params={"scores": "full"})
    monkeypatch.setattr(batches, "_CPU_PIXELS", 16 * 32 * 32)
    assert len(_run(identifier, params={"scores": "full"})) < len(whole)
    for saved in kept[:: len(kept) // 3]:
        rest = _run(identifier, saved=saved, params={"scores": "full"})
        assert all(map(same, rest, whole[-len(rest) :]))


def test_a_run_put_down_while_it_was_scored_does_not_make_the_map_again() -> None:
    kept: list[Saved] = []
    params = {"batch": 1, "scores": "full"}
    whole = _run("occlusion", kept, params=params)
    passes: list[int] = []
    hook = tiny().module.register_forward_pre_hook(lambda _, inputs: passes.append(len(inputs[0])))
    try:
        rest = _run("occlusion", saved=kept[-1], params=params)
    finally:
        hook.remove()
    assert same(rest[-1], whole[-1])
    assert sum(passes) < 16 < len(kept)
