from __future__ import annotations

import re
import threading
import time
from pathlib import Path

import pytest

from convscope_server.access.principal import Principal
from convscope_server.access.tokens import Tokens, TokensFileError, create_token, read_tokens, revoke_tokens


def test_a_token_stands_for_its_principal(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "tokens.toml"
    ada, entry = create_token(file, "ada")
    root, _ = create_token(file, "root@lab", admin=True)
    tokens = Tokens(file)
    assert re.fullmatch(r"cvs_[\w-]{43}", ada)
    assert entry.name == "ada"
    assert tokens.principal(ada) == Principal("ada", admin=False, means="token")
    assert tokens.principal(root) == Principal("root@lab", admin=True, means="token")
    for other in ("", "cvs_", ada[:-1], ada + "x", entry.hash, entry.id):
        assert tokens.principal(other) is None


def test_the_file_holds_no_token_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    file = tmp_path / "tokens.toml"
    token, _ = create_token(file, "ada")
    assert token not in file.read_text()
    assert token.removeprefix("cvs_") not in file.read_text()
    assert file.stat().st_mode & 0o077 == 0


def test_tokens_come_go_and_expire_while_the_server_runs(tmp_path: Path) -> None:
    file = tmp_path / "tokens.toml"
    first, _ = create_token(file, "ada")
    tokens = Tokens(file)
    second, entry = create_token(file, "ada")  # rotation: both are good until the first is revoked
    assert tokens.principal(first) == tokens.principal(second) is not None
    assert [gone.id for gone in revoke_tokens(file, entry.id)] == [entry.id]
    assert tokens.principal(second) is None
    assert tokens.principal(first) is not None
    short, _ = create_token(file, "bob", days=0.2 / 86400)
    assert tokens.principal(short) is not None
    time.sleep(0.25)
    assert tokens.principal(short) is None
    assert len(revoke_tokens(file, "ada")) == 1
    assert tokens.principal(first) is None
    assert [entry.name for entry in read_tokens(file)] == ["bob"]


def test_a_file_that_was_broken_while_the_server_runs_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "tokens.toml"
    token, _ = create_token(file, "ada")
    tokens = Tokens(file)
    whole = file.read_text()
    file.write_text("[[tokens")
    assert tokens.principal(token) is not None
    assert tokens.principal(token) is not None
    assert len([record for record in caplog.records if "stays in force" in record.message]) == 1
    file.unlink()
    assert tokens.principal(token) is not None
    file.write_text(whole)
    assert tokens.principal(token) is not None


def test_two_who_create_at_once_both_get_theirs(tmp_path: Path) -> None:
    file = tmp_path / "tokens.toml"
    made: list[str] = []
    threads = [
        threading.Thread(target=lambda name=name: made.append(create_token(file, name)[0]))
        for name in ("a", "b", "c", "d")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tokens = Tokens(file)
    assert {found.name for token in made if (found := tokens.principal(token))} == {"a", "b", "c", "d"}
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("name", ["", "a b", "../x", "a" * 65, ".hidden", 'x"y', "ünder"])
def test_a_name_that_is_none_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(TokensFileError, match="no name for a principal"):
        create_token(tmp_path / "tokens.toml", name)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[[tokens]]\nname = 'ada'", "hash is not"),
        ("[[tokens]]\nname = 'ada'\nhash = 'cvs_secret'", "never kept themselves"),
        ("[[tokens]]\nhash = 'sha256:00'", "name is None"),
        ("[[tokens]]\ntoken = 'x'", "no such key 'token'"),
        (f"[[tokens]]\nname = 'a'\nhash = 'sha256:{'0' * 64}'\nexpires = 3", "no date and time"),
        (f"[[tokens]]\nname = 'a'\nhash = 'sha256:{'0' * 64}'\nadmin = 'yes'", "true or false"),
        (f"[[tokens]]\nid = 'a\"b'\nname = 'a'\nhash = 'sha256:{'0' * 64}'", "id is"),
        ("tokens = 3", "is no table"),
        ("= nonsense", "is no TOML file"),
    ],
)
def test_a_file_that_cannot_be_used_says_where(content: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "tokens.toml"
    file.write_text(content)
    with pytest.raises(TokensFileError, match=says) as refusal:
        Tokens(file)
    assert str(file) in str(refusal.value)


def test_a_file_that_is_not_there_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(TokensFileError, match="convscope token create NAME --tokens-file"):
        Tokens(tmp_path / "none.toml")
