"""The server process: settings in, a port that answers, and an orderly end."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc

from convscope_server.access.self_signed import self_signed
from convscope_server.access.set_up import door_of
from convscope_server.api.health import Health
from convscope_server.api.server import SERVICES, grpc_server
from convscope_server.api.tls import TlsError, TlsFiles, server_credentials
from convscope_server.config import Settings, SettingsError
from convscope_server.engine.engine import Engine
from convscope_server.engine.local import LocalEngine
from convscope_server.engine.needs import Needs
from convscope_server.errors import RequestError
from convscope_server.logs import configure_logging
from convscope_server.runs.lock import DataDirectoryLockedError, lock_data_dir
from convscope_server.runs.postgres import StoreUnreachableError
from convscope_server.runs.schema import StoreVersionError
from convscope_server.signals import StopSignals
from convscope_server.stack import Stack, worker_options
from convscope_server.storage.place import Place

__all__ = ["StartError", "run_server", "serve"]

_FLUSH_SECONDS = 2.0

_log = logging.getLogger(__name__)


class StartError(RuntimeError):
    """The server cannot start as it is set up; the message says what to change."""


def serve(settings: Settings) -> int:
    """Serve until a signal; gives the exit code of the process.

    One line goes to standard output once health is SERVING ("convscope is ready on 127.0.0.1:8470 …").

    Returns:
        0 after an orderly end, 1 where no worker could be started, 2 where the port or the data directory cannot be
        used, or where another server took the database meanwhile.
    """
    configure_logging(settings)
    try:
        asyncio.run(run_server(settings, ready=_announce))
    except (StartError, DataDirectoryLockedError, StoreUnreachableError, StoreVersionError) as error:
        sys.stderr.write(f"convscope: {error}\n")
        return 2
    except RequestError as error:
        sys.stderr.write(f"convscope: cannot start: {error}\n")
        return 1
    return 0


async def run_server(
    settings: Settings,
    *,
    ready: Callable[[str], None] | None = None,
    engine: Engine | None = None,
    stop: StopSignals | None = None,
) -> None:
    """Serve until the first SIGTERM or SIGINT, then drain; the second ends it at once, and so does cancelling.

    Args:
        settings: Everything that can be set.
        ready: Gets one line with the address, the devices and the number of techniques once health is SERVING.
        engine: Where workers live; local processes where absent.
        stop: What ends it; signals of the process where absent.

    Raises:
        StartError: the port cannot be had.
        DataDirectoryLockedError: another server uses the data directory, or the database, be it by now.
        StoreVersionError: the data directory is that of another version.
        StoreUnreachableError: its database cannot be used.
        RequestError: no worker could be started.
    """
    with lock_data_dir(settings.data_dir) as data:
        place = Place.of(settings)
        kept = {"index_dir": str(place.indexes), "checkpoints_dir": str(place.checkpoints)}
        options = worker_options(settings, content_url=place.content, **kept)
        stack = _stack(settings, engine or LocalEngine(options, Needs(data / "needs.json")), place)
        health = Health(
            [s.full_name for s in SERVICES.values()], lambda: stack.admission.gate.open and stack.engine.ready
        )
        await health.update()
        server = grpc_server(stack.servicers, health, stack.admission, settings)
        address = _bind(server, settings, data)
        with (stop or StopSignals()).listening() as signals:
            await server.start()
            try:
                if await _unless(signals.first, stack.start()):
                    serving = _serve(health, signals, lambda: (ready or _log.info)(_welcome(address, stack)))
                    await _unless_taken(stack, serving)
                    draining = _unless(signals.second, stack.runs.drain(settings.drain_grace))
                    await _unless_taken(stack, draining)
            finally:
                await server.stop(0 if signals.second.is_set() else _FLUSH_SECONDS)
                await stack.close()


def _stack(settings: Settings, engine: Engine, place: Place) -> Stack:
    try:
        door = door_of(settings)
    except SettingsError as error:
        raise StartError(str(error)) from None
    return Stack.build(
        settings,
        engine,
        database=place.database,
        blobs=place.content,
        index_dir=place.indexes,
        checkpoints=place.checkpoints,
        door=door,
    )


async def _serve(health: Health, signals: StopSignals, ready: Callable[[], None]) -> None:
    """Keep health true until the first signal, then say that nobody new should come."""
    following = asyncio.create_task(health.follow())
    try:
        if await _unless(signals.first, health.serving.wait()):
            ready()
        await signals.first.wait()
        _log.info("draining: no new runs; a second signal ends live ones at once")
    finally:
        following.cancel()
        await health.leave()


async def _unless(stopped: asyncio.Event, work: Coroutine[Any, Any, object]) -> bool:
    """Do the work unless stopped meanwhile; gives whether it was done."""
    task, waiting = asyncio.create_task(work), asyncio.create_task(stopped.wait())
    try:
        await asyncio.wait((task, waiting), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            return False
        task.result()
        return True
    finally:
        for each in (task, waiting):
            each.cancel()
            with suppress(asyncio.CancelledError):
                await each


async def _unless_taken(stack: Stack, work: Coroutine[Any, Any, object]) -> None:
    """Do the work as long as the database is this server's.

    Raises:
        DatabaseLockedError: another server has it now.
    """
    task, taken = asyncio.create_task(work), asyncio.wrap_future(stack.store.taken)
    try:
        await asyncio.wait((task, taken), return_when=asyncio.FIRST_COMPLETED)
        if taken.done():
            taken.result()
        task.result()
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def _bind(server: grpc.aio.Server, settings: Settings, data: Path) -> str:
    """The address that the server listens on."""
    host, port = settings.host, settings.port
    shown = f"[{host}]" if ":" in host.strip("[]") else host
    credentials = _credentials(settings, data)
    try:
        if credentials is None:
            bound = server.add_insecure_port(f"{shown}:{port}")
        else:
            bound = server.add_secure_port(f"{shown}:{port}", credentials)
    except RuntimeError:
        raise StartError(
            f"cannot listen on {shown}:{port}: {_why_not(host, port)}. Choose another port with --port "
            "(0 takes a free one), or stop what uses it"
        ) from None
    return f"{shown}:{bound}"


def _credentials(settings: Settings, data: Path) -> grpc.ServerCredentials | None:
    """The port's TLS, or None for none."""
    certificate, key = settings.tls_cert, settings.tls_key
    if settings.tls_self_signed:
        made = self_signed(data / "tls", [settings.host, *settings.tls_names])
        _log.info("clients connect with ca=%s; copy that file to them", made.ca)
        certificate, key = made.certificate, made.key
    if certificate is None or key is None:
        return None
    try:
        return server_credentials(TlsFiles(certificate, key, settings.tls_client_ca))
    except TlsError as error:
        raise StartError(str(error)) from None


def _why_not(host: str, port: int) -> str:
    """What the operating system says, which gRPC keeps to itself."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.bind(address)
    except OSError as error:
        return error.strerror or str(error)
    return "it cannot be had"


def _welcome(address: str, stack: Stack) -> str:
    devices = ", ".join(device.name for device in stack.engine.devices() if device.state == "ready")
    return f"convscope is ready on {address} ({devices}; {len(stack.engine.catalog.techniques)} techniques)"


def _announce(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
