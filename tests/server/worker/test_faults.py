from __future__ import annotations

import errno

import pytest

from convscope_server.engine.blame import Author
from convscope_server.worker.faults import fault

AUTHOR = Author("theirs.paint", "theirs", "1.0")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_no_bug_of_the_technique(number: int) -> None:
    error = fault(OSError(number, "No space left on device"), AUTHOR, run="r", device="cpu")
    assert (error.code, error.reason) == ("RESOURCE_EXHAUSTED", "STORAGE_FULL")
    assert "theirs" not in error.message


def test_other_trouble_with_files_is_one(caplog: pytest.LogCaptureFixture) -> None:
    error = fault(OSError(errno.EIO, "Input/output error"), AUTHOR, run="r", device="cpu")
    assert (error.code, error.reason) == ("INTERNAL", "TECHNIQUE_FAILED")
    assert error.metadata["reference"] in caplog.text
