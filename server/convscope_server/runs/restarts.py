"""What is said of runs that start again, or cannot."""

from __future__ import annotations

from convscope_server.runs.events import Checkpointed, Error
from convscope_server.runs.live import THRIFT

__all__ = ["NOT_KEPT", "SHORT_OF_MEMORY", "restarted", "worker_lost"]

SHORT_OF_MEMORY = (
    f"the device ran out of memory; it starts again from the beginning, with inner batches {THRIFT} times smaller"
)
NOT_KEPT = "it could not be paused, since there is no room to keep where it is; it goes on"


def worker_lost(checkpoint: Checkpointed | None) -> str:
    """What is said of a run that has lost its worker and has another attempt."""
    where = "starts again from the beginning" if checkpoint is None else f"goes on from step {checkpoint.step}"
    return f"its worker was lost; it {where}"


def restarted() -> Error:
    """UNAVAILABLE: the server was restarted in the middle of a run that may not start again."""
    message = "the server was restarted while the run was on a device; submit it again, or allow max_restarts"
    return Error("UNAVAILABLE", message, "SERVER_RESTARTED")
