from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import convscope
from convscope._bundle import Bundle
from convscope.testing import FakeServer
from support.image_sets import folder_of
from support.pictures import encoded, photo


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return folder_of(tmp_path / "mine", 6)


def test_a_folder_becomes_a_set_with_its_sub_folders_as_classes(folder: Path) -> None:
    fake = FakeServer()
    seen: list[tuple[int, int]] = []
    made = fake.client().image_sets.create("mine", folder, progress=lambda *step: seen.append(step))
    assert (made.name, made.count) == ("mine", 6)
    assert made.labels == {"class": {"blue": 2, "green": 2, "red": 2}}
    assert seen == [(n, 6) for n in range(7)]
    assert {file.read_bytes() for file in folder.rglob("*.png")} <= set(fake.content.values())


def test_only_what_is_missing_is_sent(folder: Path) -> None:
    fake = FakeServer()
    client = fake.client()
    client.image_sets.create("mine", folder)
    before = len(fake.sent("Upload"))
    folder_of(folder, 2, start=6)
    seen: list[tuple[int, int]] = []
    client.image_sets.create("mine", folder, replace=True, progress=lambda *step: seen.append(step))
    assert len(fake.sent("Upload")) == before + 3
    assert seen == [(6, 8), (7, 8), (8, 8)]


def test_a_broken_connection_is_mended(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeServer()
    upload, calls = fake.upload, [0]

    def shaky(call: str, requests: Any) -> Any:
        calls[0] += 1
        if calls[0] % 2:
            raise convscope.Unavailable("the connection broke")
        return upload(call, requests)

    monkeypatch.setattr(fake, "upload", shaky)
    monkeypatch.setattr("time.sleep", lambda _: None)
    bundle = Bundle(folder)
    fake.content["sha256:" + "0" * 64] = b""
    fake.client().image_sets.create("mine", folder)
    assert len(fake.content) == 1 + len(bundle) + 1  # every picture, and the manifest
    assert calls[0] == 2 * (len(bundle) + 1)


def test_pictures_are_given_by_name_or_as_paths(folder: Path) -> None:
    files = sorted(folder.rglob("*.png"))
    image_sets = FakeServer().client().image_sets
    assert image_sets.create("paths", files).count == 6
    named = image_sets.create("named", {"a": photo(), "b": encoded(photo(9, 9))}, labels={"size": {"b": "small"}})
    assert (named.count, named.labels) == (2, {"size": {"small": 1}})
    assert Bundle(map(str, files)).manifest == Bundle(files).manifest


@pytest.mark.parametrize(
    ("pictures", "words"),
    [({}, "no pictures"), ([], "no pictures"), ("nowhere", "no folder"), (["a.png"] * 2, "twice")],
)
def test_what_is_no_set_of_pictures_is_refused_before_anything_is_sent(pictures: Any, words: str) -> None:
    fake = FakeServer()
    with pytest.raises(convscope.InvalidArgument, match=words):
        fake.client().image_sets.create("mine", pictures)
    assert fake.requests == []


def test_a_label_of_no_picture_and_a_file_that_changed_are_named(folder: Path) -> None:
    with pytest.raises(convscope.InvalidArgument, match="'nobody'"):
        Bundle(folder, {"mood": {"nobody": "sad"}})
    bundle = Bundle(folder)
    for file in folder.rglob("*.png"):
        file.write_bytes(b"other")
    with pytest.raises(convscope.InvalidArgument, match="changed"):
        bundle.content(next(bundle.groups())[0])


def test_the_asynchronous_client_does_the_same(folder: Path) -> None:
    async def main() -> None:
        fake = FakeServer()
        image_sets = fake.async_client().image_sets
        seen: list[tuple[int, int]] = []
        made = await image_sets.create("mine", folder, progress=lambda *step: seen.append(step))
        assert seen[-1] == (6, 6)
        assert await image_sets.list() == [await image_sets.get("mine")] == [made]
        await image_sets.delete("mine")
        with pytest.raises(convscope.NotFound):
            await image_sets.get("mine")

    asyncio.run(main())


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[convscope.Client]:
    from support.look_around import look_around

    sets = tmp_path_factory.mktemp("sets")
    folder_of(sets / "ours", 4)
    with convscope.embedded(techniques=[look_around], image_sets_dir=sets) as client:
        yield client


@pytest.mark.parametrize("name", ["mine", "ours"])
def test_a_technique_looks_at_a_set_of_a_real_server(name: str, embedded: convscope.Client, folder: Path) -> None:
    if name == "mine":
        embedded.image_sets.create("mine", folder)
    assert embedded.image_sets.get(name).labels["class"]
    first, second = (embedded.visualize("tests.look_around", image_set=name).result() for _ in range(2))
    assert "indexed in" in first.report.notes[0]
    assert "taken from its index" in second.report.notes[0]
    assert first.tables == second.tables
    assert {row["label"] for row in first.tables["pictures"]} == set(embedded.image_sets.get(name).labels["class"])


def test_a_set_that_nobody_has_is_refused_with_near_names_before_the_run_is_accepted(
    embedded: convscope.Client,
) -> None:
    with pytest.raises(convscope.NotFound, match="'ours'") as refusal:
        embedded.visualize("tests.look_around", image_set="our")
    assert refusal.value.reason == "IMAGE_SET_NOT_FOUND"
