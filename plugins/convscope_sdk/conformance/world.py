"""Checks of what a technique does outside its run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convscope_sdk.conformance.check import NonConformity

if TYPE_CHECKING:
    from convscope_sdk.conformance.subject import Subject

__all__ = ["check_keeps_no_global_state", "check_uses_no_network", "check_writes_nothing"]


def check_writes_nothing(subject: Subject) -> None:
    """The host keeps what is yielded; a server may have no disk, or many workers: no file outside `tempfile`'s folder is written, no process started."""  # noqa: E501 - the reason is one paragraph
    for recording in subject.finished:
        if seen := recording.deeds.writes + recording.deeds.processes:
            raise NonConformity(
                f"on {recording.network}, it {_listed(seen)}; yield it as Tensor, Table or Text instead"
            )


def check_uses_no_network(subject: Subject) -> None:
    """A GPU box often has no way out, and pictures are private: no address is looked up or called."""
    for recording in subject.finished:
        if seen := recording.deeds.network:
            raise NonConformity(
                f"on {recording.network}, it did {_listed(seen)}; weights belong to models, not techniques"
            )


def check_keeps_no_global_state(subject: Subject) -> None:
    """Runs of strangers share the process: its settings and the module's variables are as they were."""
    for recording in subject.finished:
        if recording.changed:
            raise NonConformity(
                f"on {recording.network}, it changes {', '.join(recording.changed)}; "
                f"keep what a run needs in local variables"
            )


def _listed(seen: list[str]) -> str:
    more = f" and {len(seen) - 3} more" if len(seen) > 3 else ""  # noqa: PLR2004 - three make it clear
    return ", ".join(seen[:3]) + more
