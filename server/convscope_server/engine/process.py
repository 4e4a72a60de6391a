"""One worker process, as its engine sees it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator

import msgspec

from convscope_server.engine.mark import TurnMark
from convscope_server.engine.messages import Command, Report, Shutdown
from convscope_server.engine.options import WorkerOptions
from convscope_server.engine.output import WorkerOutput
from convscope_server.engine.pipe import HEADER_BYTES, body_length, decode_report, frame

__all__ = ["WorkerProcess"]

_PATIENCE = 5.0
_OUTPUT_PATIENCE = 1.0
_STDERR = 2
# OpenMP's threads spin while they wait. Beside the front end, other workers and other programs that takes their
# time away: on two busy cores a forward pass took ten times as long. A short spin costs nothing on idle ones.
_ENVIRONMENT = {"GOMP_SPINCOUNT": "20000"}


class WorkerProcess:
    """A spawned Python that has torch, at the other end of a socket pair. It ends when this side does.

    Attributes:
        mark: Whose turn it is, or was when it died.
        output: What it prints.
        killed: Whether it was killed from outside, or by itself as by others: known once it has ended.
    """

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        mark: TurnMark,
        output: WorkerOutput,
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self.mark = mark
        self.output = output
        self.killed = False

    @classmethod
    async def spawn(cls, options: WorkerOptions, device: str, python: str = "") -> WorkerProcess:
        """Start a worker for a device ("" lets it choose), by another interpreter where one is named.

        Where it is cancelled, the worker finds nobody and ends.
        """
        ours, theirs = socket.socketpair()
        with contextlib.ExitStack() as undo, contextlib.ExitStack() as handed_over:
            undo.callback(ours.close)
            handed_over.callback(theirs.close)
            mark = TurnMark.create()
            undo.callback(mark.close)
            reading, printing = os.pipe()
            handed_over.callback(os.close, printing)
            log = os.dup(_STDERR)  # its own, since what plugins print goes elsewhere
            handed_over.callback(os.close, log)
            output = await WorkerOutput.reading(reading, device or "the first device", lambda: mark.run)
            numbers = {"fd": theirs.fileno(), "mark": mark.descriptor, "log": log}
            process = await asyncio.create_subprocess_exec(
                *(python or sys.executable, "-m", "convscope_server.worker", "--device", device),
                *(word for name, number in numbers.items() for word in (f"--{name}", str(number))),
                *("--options", msgspec.json.encode(options).decode()),
                *("--log-level", logging.getLevelName(logging.getLogger("convscope_server").getEffectiveLevel())),
                pass_fds=tuple(numbers.values()),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=printing,
                stderr=printing,
                env={**_ENVIRONMENT, **_inherited(python)},
            )
            reader, writer = await asyncio.open_connection(sock=ours)
            undo.pop_all()
        return cls(process, reader, writer, mark, output)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def post(self, command: Command) -> None:
        """Send a command."""
        if not self._writer.is_closing():
            self._writer.write(frame(command))

    async def reports(self) -> AsyncIterator[Report]:
        """What it says, until it is gone."""
        # A worker killed amid a message leaves half of one; a reset connection is an end like any other.
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                header = await self._reader.readexactly(HEADER_BYTES)
                yield decode_report(await self._reader.readexactly(body_length(header)))

    def kill(self) -> None:
        """End it now."""
        # Not Process.kill: it polls first, and would reap the child under asyncio's own waiting thread.
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)

    async def ended(self) -> str:
        """How it ended, in words, once it has hung up; one that lives on without its line is killed."""
        try:
            async with asyncio.timeout(_PATIENCE):
                code = await self._process.wait()
        except TimeoutError:
            self.kill()
            code = await self._process.wait()
        self._writer.close()
        self.killed = code == -signal.SIGKILL
        # A program that it started may hold its output open for ever.
        await asyncio.wait({self.output.ended}, timeout=_OUTPUT_PATIENCE)
        if code < 0:
            with contextlib.suppress(ValueError):
                return f"was killed by {signal.Signals(-code).name}"
        return f"exited with status {code}"

    def close(self) -> None:
        """Forget what is left of it."""
        self._writer.close()
        self.output.close()
        self.mark.close()

    async def stop(self) -> None:
        """Ask it to end, then make it."""
        self.post(Shutdown())
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._process.wait()
        except TimeoutError:
            self.kill()
            await self._process.wait()
        self._writer.close()


def _inherited(python: str) -> dict[str, str]:
    """The environment variables; without those that would lead another interpreter to our packages."""
    ours = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV") if python else ()
    return {name: value for name, value in os.environ.items() if name not in ours}
