"""What runs need, as learned from earlier ones alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from convscope_server.engine.messages import RunSpec
from convscope_server.engine.needs import Need, Needs, together
from support.pictures import encoded


def spec(technique: str = "rise", image: bytes | None = None, **params: Any) -> RunSpec:
    return RunSpec("id", technique, "m", params, image=image)


def learned(needs: Needs, run: RunSpec, held: int, peak: int) -> None:
    needs.learn(needs.likeness(run), Need(held, peak))


def test_runs_of_one_device_need_what_all_hold_and_the_largest_step() -> None:
    assert together([]) == 0
    assert together([Need(10, 100)]) == 100
    assert together([Need(10, 100), Need(20, 50), Need(5, 5)]) == 10 + 20 + 5 + 90


def test_nothing_is_known_of_runs_unlike_any_earlier_one() -> None:
    needs = Needs()
    assert needs.of(spec()) == Need()
    learned(needs, spec(size=224), 10, 100)
    assert needs.of(spec(size=224, target="top1")) == Need(10, 100)
    for other in (spec(), spec(size=448), spec(size=224, batch=4), spec("smoothgrad", size=224)):
        assert needs.of(other) == Need()


def test_the_most_that_was_ever_needed_counts() -> None:
    needs = Needs()
    for held, peak in ((10, 100), (30, 90), (5, 200)):
        learned(needs, spec(), held, peak)
    assert needs.of(spec()) == Need(30, 200)


def test_pictures_of_about_one_size_are_alike_and_a_broken_one_is_none() -> None:
    needs = Needs()
    small, similar, large = (encoded(Image.new("RGB", size)) for size in ((40, 40), (45, 40), (400, 400)))
    assert needs.likeness(spec(image=small)) == needs.likeness(spec(image=similar))
    assert needs.likeness(spec(image=small)) != needs.likeness(spec(image=large))
    assert needs.likeness(spec(image=b"no picture")) == needs.likeness(spec())


def test_what_is_known_survives_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "needs.json"
    learned(Needs(file), spec(), 10, 100)
    assert Needs(file).of(spec()) == Need(10, 100)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["needs.json"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"a": 1}', b"\xff"])
def test_a_spoilt_file_is_learned_anew(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "needs.json"
    file.write_bytes(content)
    needs = Needs(file)
    assert needs.of(spec()) == Need()
    learned(needs, spec(), 10, 100)
    assert Needs(file).of(spec()) == Need(10, 100)


def test_little_more_is_not_worth_writing(tmp_path: Path) -> None:
    file = tmp_path / "needs.json"
    needs = Needs(file)
    learned(needs, spec(), 1000, 1000)
    before = file.stat().st_mtime_ns
    learned(needs, spec(), 1040, 1040)
    assert file.stat().st_mtime_ns == before
    learned(needs, spec(), 1060, 1000)
    assert Needs(file).of(spec()) == Need(1060, 1000)
