from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from convscope_server.runs.lock import DataDirectoryLockedError, lock_data_dir

HOLD = """
import sys, time
from convscope_server.runs.lock import lock_data_dir
with lock_data_dir(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_data_directory_is_made_and_can_be_used_again_once_it_is_left(tmp_path: Path) -> None:
    for _ in range(2):
        with lock_data_dir(tmp_path / "new" / "data") as directory:
            assert directory.is_dir()


def test_a_second_server_is_refused_with_the_process_of_the_first_until_that_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(DataDirectoryLockedError, match=rf"process {holder.pid}\b.*--data"), lock_data_dir(tmp_path):
            pass
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
    with lock_data_dir(tmp_path):
        assert (tmp_path / "server.lock").read_text() == str(os.getpid())
