from __future__ import annotations

import base64
import io
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console

from convscope.cli import board
from convscope.cli.board import Board
from convscope.cli.terminal import cells, encode, half_blocks, protocol_of
from convscope.testing import FakeServer, checkpointed, paused, preview, progress, started, updated

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8))


@pytest.mark.parametrize(
    ("environment", "protocol"),
    [
        ({"TERM": "xterm-kitty"}, "kitty"),
        ({"TERM_PROGRAM": "ghostty"}, "kitty"),
        ({"TERM_PROGRAM": "iTerm.app"}, "iterm2"),
        ({"TERM": "foot"}, "sixel"),
        ({"TERM": "xterm-256color"}, None),
        ({"TERM": "xterm-kitty", "TMUX": "/tmp/tmux"}, None),
        ({}, None),
    ],
)
def test_terminals_are_told_by_their_environment(environment: dict[str, str], protocol: str | None) -> None:
    assert protocol_of(environment) == protocol


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 200), st.integers(1, 60))
def test_a_picture_fits_the_room_that_it_has(width: int, height: int, columns: int, rows: int) -> None:
    wide, high = cells((width, height), columns=columns, rows=rows)
    assert 1 <= wide <= columns
    assert 1 <= high <= rows


def test_kitty_gets_a_png_in_chunks() -> None:
    text = encode(PICTURE.resize((200, 200)), "kitty", 20, 10)
    parts = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", text)
    assert "".join(f"\x1b_G{keys};{data}\x1b\\" for keys, data in parts) == text
    assert [keys.rpartition("m=")[2] for keys, _ in parts] == ["1"] * (len(parts) - 1) + ["0"]
    assert all(len(data) <= 4096 for _, data in parts)
    assert "c=20,r=10" in parts[0][0]
    whole = base64.b64decode("".join(data for _, data in parts))
    assert Image.open(io.BytesIO(whole)).size == (200, 200)


def test_iterm2_gets_a_file() -> None:
    text = encode(PICTURE, "iterm2", 20, 10)
    match = re.fullmatch(r"\x1b]1337;File=inline=1;width=20;height=10;preserveAspectRatio=1:([^\a]*)\a", text)
    assert match is not None
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(match[1])))), np.asarray(PICTURE))


def test_sixels_read_back_are_the_picture() -> None:
    expected = PICTURE.resize((4 * 8, 2 * 16)).quantize(64)
    text = encode(PICTURE, "sixel", 4, 2)
    body = text.removeprefix("\x1bP").removesuffix("\x1b\\").partition("q")[2]
    read = np.full((36, 32), -1)
    top = column = colour = 0
    for token in re.finditer(r'"[\d;]+|#\d+;2;[\d;]+|#(\d+)|!(\d+)([?-~])|([?-~])|(\$)|(-)', body):
        number, times, repeated, once, back, down = token.groups()
        if number:
            colour = int(number)
        elif repeated or once:
            bits = ord(repeated or once) - 63
            for _ in range(int(times or 1)):
                for bit in range(6):
                    if bits >> bit & 1:
                        read[top + bit, column] = colour
                column += 1
        elif back:
            column = 0
        elif down:
            top, column = top + 6, 0
    np.testing.assert_array_equal(read[:32], np.asarray(expected))
    assert (read[32:] == -1).all()


def test_half_blocks_are_two_pixels_a_cell() -> None:
    picture = Image.new("RGB", (2, 2))
    picture.putpixel((0, 0), (255, 0, 0))
    picture.putpixel((0, 1), (0, 255, 0))
    out = Console(file=io.StringIO(), force_terminal=True, color_system="truecolor", width=10)
    out.print(half_blocks(picture, 2, 1))
    assert "\x1b[38;2;255;0;0;48;2;0;255;0m▀" in out.file.getvalue()  # type: ignore[attr-defined]


def shown(preview_wanted: bool | None, *events: Any, terminal: bool, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(board, "_PAUSE", 0.0)
    server = FakeServer()
    server.add_technique("x", events or [progress(3, 10, eta=7.0, loss=0.25), preview(PICTURE), progress(4, 10)])
    out = Console(file=io.StringIO(), force_terminal=terminal, width=100, color_system="truecolor")
    with Board("x", preview=preview_wanted, out=out) as view:
        server.client().visualize("x").result(on_event=view.update)
    return str(out.file.getvalue())  # type: ignore[attr-defined]


def test_the_bar_shows_steps_numbers_and_time(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(False, terminal=True, monkeypatch=monkeypatch)
    assert "3/10" in text
    assert "loss 0.25" in text
    assert "7 s left" in text
    assert "▀" not in text


def test_a_pause_and_a_change_have_a_line_each_and_checkpoints_none(monkeypatch: pytest.MonkeyPatch) -> None:
    events = checkpointed(4), updated(4, tv=0.5, layer="b.2"), paused(), started(4, attempt=2), progress(5, 9)
    text = shown(False, progress(6, 9), *events, terminal=True, monkeypatch=monkeypatch)
    plain = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", text)
    lines = plain.splitlines()
    assert "updated: layer=b.2, tv=0.5 behind step 4" in lines
    assert any(re.fullmatch(r"paused; it goes on after: convscope resume [0-9a-f]{32}", line) for line in lines)
    assert "checkpoint" not in plain
    assert re.search(r"4/9 on cpu, attempt 2, from step 4", plain)
    quiet = shown(False, progress(6, 9), *events, terminal=False, monkeypatch=monkeypatch)
    assert quiet.strip() == ""


def test_previews_are_drawn_as_the_terminal_can(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TERM", "TERM_PROGRAM", "TMUX", "LC_TERMINAL", "KITTY_WINDOW_ID"):
        monkeypatch.delenv(name, raising=False)
    assert "▀" in shown(True, terminal=True, monkeypatch=monkeypatch)
    assert "▀" not in shown(None, terminal=True, monkeypatch=monkeypatch)
    monkeypatch.setenv("TERM_PROGRAM", "iTerm.app")
    assert "]1337;File=inline=1" in shown(None, terminal=True, monkeypatch=monkeypatch)
    assert "]1337" not in shown(False, terminal=True, monkeypatch=monkeypatch)


def test_a_pipe_gets_nothing_to_look_at(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(None, terminal=False, monkeypatch=monkeypatch).strip() == ""
