"""VisualizationService: runs, and watching them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field

from msgspec.structs import replace

from convscope.v1 import run_pb2
from convscope.v1 import visualization_service_pb2 as pb
from convscope_server.access.principal import acting
from convscope_server.api import fields
from convscope_server.api.convert import event_message, run_message
from convscope_server.api.shared import Shared
from convscope_server.api.validate import Validator
from convscope_server.api.violations import Violations
from convscope_server.errors import RequestError
from convscope_server.runs.events import Cancelled, Failed
from convscope_server.runs.run import Gap, LoggedEvent, RunRecord
from convscope_server.runs.service import RunService

__all__ = ["VisualizationServicer"]

_MAX_PAGE_BYTES = 3 * 2**20


@dataclass(slots=True)
class VisualizationServicer:
    """Translates, and leaves the rest to `RunService`."""

    runs: RunService
    validator: Validator
    _message: Shared[LoggedEvent | Gap, run_pb2.RunEvent] = field(
        default_factory=lambda: Shared(event_message, size=run_pb2.RunEvent.ByteSize), init=False
    )

    async def visualize(self, request: run_pb2.VisualizeRequest) -> AsyncIterator[run_pb2.RunEvent]:
        """Submit and watch from the start; ends with the run's own status."""
        record = await self.runs.submit(await self.validator.run_request(request, watched=True))
        async with aclosing(self.runs.watch(record.id)) as entries:
            async for entry in entries:
                yield self._message(entry)
                _raise_if_failed(entry)

    async def submit_run(self, request: pb.SubmitRunRequest) -> pb.SubmitRunResponse:
        """Accept a run that nobody needs to watch."""
        record = await self.runs.submit(await self.validator.run_request(request.request, watched=False))
        return pb.SubmitRunResponse(run=run_message(record))

    async def watch_run(self, request: pb.WatchRunRequest) -> AsyncIterator[run_pb2.RunEvent]:
        """The log after `after_sequence`, to the terminal event."""
        violations = Violations()
        after = request.after_sequence
        violations.check(after >= 0, "after_sequence", f"given {after}; allowed: 0 or more")
        violations.refuse_any()
        watching = self.runs.watch(
            fields.known_run_id(request.run),
            after_sequence=after,
            skip_previews=request.skip_previews,
            every_preview=request.every_preview,
            owner=acting().scope,
        )
        async with aclosing(watching) as entries:
            async for entry in entries:
                yield self._message(entry)

    async def get_run(self, request: pb.GetRunRequest) -> pb.GetRunResponse:
        """A run as it is now."""
        return pb.GetRunResponse(
            run=run_message(await self.runs.get(fields.known_run_id(request.run), owner=acting().scope))
        )

    async def list_runs(self, request: pb.ListRunsRequest) -> pb.ListRunsResponse:
        """A page of runs, newest first; shorter than asked for where it would not fit in one message."""
        violations = Violations()
        size = fields.check_page_size(request.page_size, request.page_token, violations)
        where = replace(fields.run_filter(request, violations), owner=acting().scope)
        violations.refuse_any()
        while True:
            records, token = await self.runs.list(where, page_size=size, page_token=request.page_token)
            page = pb.ListRunsResponse(runs=map(run_message, records), next_page_token=token)
            if size == 1 or page.ByteSize() <= _MAX_PAGE_BYTES:
                return page
            size = max(1, min(size, len(records)) // 2)

    async def cancel_run(self, request: pb.CancelRunRequest) -> pb.CancelRunResponse:
        """Ask a run to end at its next step."""
        record: RunRecord = await self.runs.cancel(fields.known_run_id(request.run), owner=acting().scope)
        return pb.CancelRunResponse(run=run_message(record))

    async def pause_run(self, request: pb.PauseRunRequest) -> pb.PauseRunResponse:
        """Take a run off its device, or out of the queue."""
        record = await self.runs.steering.pause(fields.known_run_id(request.run), owner=acting().scope)
        return pb.PauseRunResponse(run=run_message(record))

    async def resume_run(self, request: pb.ResumeRunRequest) -> pb.ResumeRunResponse:
        """Let a paused run go on."""
        record = await self.runs.steering.resume(fields.known_run_id(request.run), owner=acting().scope)
        return pb.ResumeRunResponse(run=run_message(record))

    async def update_run(self, request: pb.UpdateRunRequest) -> pb.UpdateRunResponse:
        """Change steering parameters of a run."""
        run, scope = fields.known_run_id(request.run), acting().scope
        params = self.validator.update(request, run_message(await self.runs.get(run, owner=scope)))
        return pb.UpdateRunResponse(run=run_message(await self.runs.steering.update(run, params, owner=scope)))

    async def delete_run(self, request: pb.DeleteRunRequest) -> pb.DeleteRunResponse:
        """Forget an ended run."""
        await self.runs.delete(fields.known_run_id(request.run), owner=acting().scope)
        return pb.DeleteRunResponse()


def _raise_if_failed(entry: LoggedEvent | Gap) -> None:
    event = entry.event if isinstance(entry, LoggedEvent) else None
    if isinstance(event, Failed):
        raise RequestError(event.error)
    if isinstance(event, Cancelled):
        raise RequestError.of(
            "CANCELLED",
            "RUN_CANCELLED",
            f"the run was cancelled: {event.reason}",
            metadata={"cancel_reason": event.reason},
        )
