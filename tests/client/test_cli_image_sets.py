from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import convscope
from convscope.cli import exits, options
from convscope.cli.app import build
from convscope.testing import FakeServer
from support.image_sets import folder_of


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the set "ours", and "empty" without pictures."""
    directory = tmp_path_factory.mktemp("sets")
    folder_of(directory / "ours", 4)
    (directory / "empty").mkdir()
    return directory


@pytest.fixture(scope="module")
def server(sets: Path) -> Iterator[convscope.Client]:
    with convscope.embedded(techniques=[], image_sets_dir=sets) as client:
        yield client


@pytest.fixture(autouse=True)
def _found(server: convscope.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command finds the server, whether it looks for one or embeds one."""
    for name in ("connect", "embedded"):
        monkeypatch.setattr(options, name, lambda *_, **__: nullcontext(server))
    monkeypatch.delenv("CONVSCOPE_SERVER", raising=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return folder_of(tmp_path / "pictures", 6)


def call(*words: str | Path) -> Result:
    return CliRunner().invoke(build(), ["image-sets", *map(str, words)])


def test_a_set_is_made_listed_shown_and_deleted(folder: Path) -> None:
    made = call("create", "mine", folder)
    assert made.exit_code == 0, made.output
    assert "mine: 6 pictures" in made.stdout
    listed = call("list").stdout
    assert [line.split()[0] for line in listed.splitlines() if "uploaded" in line] == ["mine"]
    assert {"ours", "samples"} <= {line.split()[0] for line in listed.splitlines() if line.strip()}
    shown = call("show", "mine").stdout
    assert [line.split() for line in shown.splitlines() if line.split()[:1] == ["blue"]] == [["blue", "2"]]
    assert "deleted mine" in call("delete", "mine").stdout
    assert "uploaded" not in call("list").stdout


def test_everything_but_deleting_has_json(folder: Path) -> None:
    made = json.loads(call("create", "theirs", folder, "--json").stdout)
    assert (made["name"], made["count"], made["labels"]) == ("theirs", 6, {"class": {"blue": 2, "green": 2, "red": 2}})
    assert json.loads(call("show", "theirs", "--json").stdout) == made
    assert made["name"] in {each["name"] for each in json.loads(call("list", "--json").stdout)}
    call("delete", "theirs")


def test_files_make_a_set_too(folder: Path) -> None:
    made = call("create", "files", *sorted(folder.rglob("*.png"))[:2])
    assert "files: 2 pictures" in made.stdout
    call("delete", "files")


def test_a_set_with_other_pictures_is_replaced_on_request_only(folder: Path) -> None:
    call("create", "twice", folder)
    folder_of(folder, 1, start=6)
    refused = call("create", "twice", folder)
    assert refused.exit_code == exits.FAILED
    assert "set replace" in refused.stderr
    assert "twice: 7 pictures" in call("create", "twice", folder, "--replace").stdout
    call("delete", "twice")


def test_a_bar_counts_the_pictures_at_a_terminal_and_nothing_does_elsewhere(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call("create", "quiet", folder).stderr == ""
    monkeypatch.setenv("FORCE_COLOR", "1")
    seen = call("create", "loud", folder, "--replace").stderr
    assert "sending loud" in seen
    assert "6/6" in seen
    for name in ("quiet", "loud"):
        call("delete", name)


@pytest.mark.parametrize("word", ["show", "delete"])
def test_a_set_that_is_not_there_gets_near_names(word: str) -> None:
    refused = call(word, "our")
    assert refused.exit_code == exits.NOT_FOUND
    assert "'ours'" in refused.stderr


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("create", "mine", "nowhere"), exits.USAGE, "nowhere"),
        (("create", "mine", "."), exits.USAGE, "there are no pictures"),
        (("create", "../mine", "pictures"), exits.USAGE, "../mine"),
        (("create", "samples", "pictures"), exits.FAILED, "samples"),
        (("delete", "samples"), exits.REFUSED, "samples"),
        (("show", "empty"), exits.REFUSED, "is empty"),
        (("create", "mine"), exits.USAGE, "Missing argument"),
    ],
)
def test_what_cannot_be_is_one_message_and_an_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], code: int, message: str
) -> None:
    folder_of(tmp_path / "pictures", 2)
    (tmp_path / "bare").mkdir()
    monkeypatch.chdir(tmp_path / "bare" if "." in words else tmp_path)
    refused = call(*words)
    assert refused.exit_code == code, refused.output
    assert message in refused.stderr
    assert "Traceback" not in refused.output


def test_what_was_sent_before_an_interruption_is_not_sent_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeServer()
    monkeypatch.setattr(options, "connect", lambda *_, **__: fake.client())
    upload, sent = fake.upload, []

    def stopped(name: str, requests: object) -> object:
        sent.append(name)
        if len(sent) == 4:
            raise KeyboardInterrupt
        return upload(name, requests)  # type: ignore[arg-type]  # passed on as it came

    monkeypatch.setattr(fake, "upload", stopped)
    assert call("create", "mine", folder).exit_code == exits.INTERRUPTED
    assert call("create", "mine", folder).exit_code == 0
    assert len(sent) == 4 + 3 + 1  # three that arrived, one that did not, then the three others and the manifest
