"""Refusals of what would be too much, for the server or for one principal."""

from __future__ import annotations

from convscope_server.errors import RequestError
from convscope_server.runs.ledger import Ledger
from convscope_server.runs.limits import PrincipalLimits

__all__ = ["draining", "over_quota", "over_stored_bytes", "queue_full"]

_SOON = 5.0


def draining() -> RequestError:
    """UNAVAILABLE: the server takes nothing new."""
    message = "the server is shutting down and takes no new runs; try again once it is back"
    return RequestError.of("UNAVAILABLE", "DRAINING", message)


def queue_full(waiting: int, pace: float | None) -> RequestError:
    """RESOURCE_EXHAUSTED: too many runs wait; `pace` is the seconds between two starts, where it is known."""
    return RequestError.of(
        "RESOURCE_EXHAUSTED",
        "QUEUE_FULL",
        f"{waiting} runs wait already, the most that this server lets wait; try again later",
        metadata={"retry_after_seconds": f"{max(1.0, min(pace or _SOON, 600.0)):.0f}"},
    )


def over_quota(owner: str, limits: PrincipalLimits, ledger: Ledger, stored_bytes: int) -> RequestError | None:
    """The refusal of one more run of a principal whose runs and uploads take so many bytes; None where it may come."""
    waiting = ledger[owner].waiting + ledger[owner].coming + ledger[owner].paused
    if limits.queued and waiting >= limits.queued:
        return _exceeded("queued runs", limits.queued, f"{waiting} runs of yours wait already, your most", _SOON)
    if limits.device_seconds and (used := ledger.last_hour(owner)) >= limits.device_seconds:
        what = f"your runs took {used:.0f} device seconds in the last hour, of {limits.device_seconds:.0f}"
        until = ledger.until_below(owner, limits.device_seconds)
        return _exceeded("device seconds", limits.device_seconds, what, until)
    return over_stored_bytes(stored_bytes, limits.stored_bytes)


def over_stored_bytes(stored_bytes: int, limit: int) -> RequestError | None:
    """The refusal to keep more for a principal whose runs and uploads take so many bytes; None where there is room."""
    if not limit or stored_bytes < limit:
        return None
    what = f"your runs and uploads take {stored_bytes:,} bytes, of {limit:,}; delete some"
    return _exceeded("stored bytes", limit, what, None)


def _exceeded(quota: str, limit: float, what: str, retry_after: float | None) -> RequestError:
    metadata = {"quota": quota, "limit": f"{limit:.0f}"}
    if retry_after is not None:
        metadata["retry_after_seconds"] = f"{max(retry_after, 1.0):.0f}"
        what += f"; try again in {max(retry_after, 1.0):.0f} s"
    return RequestError.of("RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED", what, metadata=metadata)
