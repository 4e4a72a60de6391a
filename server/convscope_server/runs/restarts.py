"""What is said of runs that start again, or cannot."""

from __future__ import annotations

from convscope_server.runs.events import Error
from convscope_server.runs.live import THRIFT

__all__ = ["SHORT_OF_MEMORY", "WORKER_LOST", "restarted"]

SHORT_OF_MEMORY = (
    f"the device ran out of memory; it starts again from the beginning, with inner batches {THRIFT} times smaller"
)
WORKER_LOST = "its worker was lost; it starts again from the beginning"


def restarted() -> Error:
    """UNAVAILABLE: the server was restarted in the middle of a run that may not start again."""
    message = "the server was restarted while the run was on a device; submit it again, or allow max_restarts"
    return Error("UNAVAILABLE", message, "SERVER_RESTARTED")
