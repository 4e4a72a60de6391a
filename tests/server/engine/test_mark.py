from __future__ import annotations

import os
import subprocess
import sys

import pytest

from convscope_server.engine.mark import TurnMark


def test_a_mark_says_whose_turn_it_is() -> None:
    mark = TurnMark.create()
    assert mark.run == ""
    mark.enter("first")
    mark.enter("2")
    assert mark.run == "2"
    mark.leave()
    assert mark.run == ""
    mark.close()


def test_a_mark_outlives_the_process_that_made_it() -> None:
    mark = TurnMark.create()
    code = (
        "import os, sys; from convscope_server.engine.mark import TurnMark; "
        "TurnMark(int(sys.argv[1])).enter('guilty'); os._exit(3)"
    )
    subprocess.run([sys.executable, "-c", code, str(mark.descriptor)], pass_fds=(mark.descriptor,), check=False)
    assert mark.run == "guilty"
    mark.close()
    assert mark.run == ""


def test_a_closed_mark_gives_its_descriptor_back() -> None:
    mark = TurnMark.create()
    mark.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(mark.descriptor)
