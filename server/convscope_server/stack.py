"""What every server is made of behind its port, wired together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from convscope_server.access.door import Door
from convscope_server.api.admission import Admission, Gate
from convscope_server.api.server import Servicers
from convscope_server.config import Settings
from convscope_server.engine.engine import Engine
from convscope_server.engine.options import Environment, WorkerOptions
from convscope_server.images.sets import ImageSetService
from convscope_server.observers.observers import Observers
from convscope_server.room import Room
from convscope_server.runs.limits import PrincipalLimits, RunLimits
from convscope_server.runs.service import RunService
from convscope_server.runs.store import RunStore
from convscope_server.storage.archive import Archive
from convscope_server.storage.place import keep_limits
from convscope_server.storage.reserve import Reserve
from convscope_server.storage.tidying import Tidying

__all__ = ["Stack", "worker_options"]


@dataclass(frozen=True, slots=True)
class Stack:
    """Store, content, engine, runs and the services over them."""

    engine: Engine
    store: RunStore
    runs: RunService
    image_sets: ImageSetService
    observers: Observers
    tidying: Tidying
    servicers: Servicers
    admission: Admission

    @classmethod
    def build(
        cls,
        settings: Settings,
        engine: Engine,
        *,
        database: str,
        blobs: str,
        index_dir: Path | None = None,
        checkpoints: Path | None = None,
        door: Door | None = None,
    ) -> Stack:
        """The stack over a database (SQLAlchemy URL) and a place for blobs (fsspec URL); nothing is opened yet.

        Where workers keep indexes of image sets in `index_dir`, those that nobody needs go with old runs; so do the
        files in `checkpoints` that no run goes on from.
        """
        disk = None if "://" in blobs else settings.data_dir
        room = Room(disk, int(settings.min_free_bytes))
        archive = Archive.at(
            database,
            blobs,
            keep_limits(settings),
            max_bytes=settings.max_upload_bytes,
            room=room,
            index_dir=index_dir,
        )
        store, content = archive.runs, archive.content
        limits = RunLimits(
            disconnect_grace=settings.disconnect_grace,
            max_queued=settings.max_queued,
            drain_grace=settings.drain_grace,
            ageing=settings.ageing,
            cache=settings.cache,
            principal=PrincipalLimits(
                running=settings.principal_running,
                queued=settings.principal_queued,
                device_seconds=settings.principal_device_seconds,
                stored_bytes=int(settings.principal_stored_bytes),
            ),
        )
        runs = RunService(store, content, engine, limits, checkpoints=checkpoints)
        image_sets = ImageSetService(archive.image_sets, content, engine, folders=settings.image_sets_dir)
        servicers = Servicers.of(runs, store, image_sets, content, engine=engine, settings=settings)
        observers = Observers(settings.plugin_files)
        runs.observe_by(observers.tell)
        tidying = Tidying(archive.retention(runs.parting), settings.tidy_seconds, Reserve(disk))
        return cls(engine, store, runs, image_sets, observers, tidying, servicers, Admission(Gate(), door or Door()))

    async def start(self) -> None:
        """Start the engine, take up earlier runs, and open the gate.

        Raises:
            RequestError: no worker could be started.
        """
        await self.runs.start()
        await self.image_sets.start()
        self.observers.start(self.engine.catalog.plugins)
        self.tidying.start()
        self.admission.gate.open = True

    async def close(self) -> None:
        """Stop everything now."""
        await self.tidying.close()
        await self.runs.close()
        await self.observers.close()
        await self.image_sets.close()


def worker_options(
    settings: Settings, *, content_url: str = "", index_dir: str = "", checkpoints_dir: str = ""
) -> WorkerOptions:
    """How workers are set up, where they find uploaded pictures, and where they keep indexes and checkpoints."""
    return WorkerOptions(
        devices=settings.devices,
        models_dir=str(settings.models_dir or settings.data_dir / "models"),
        image_sets_dir=str(settings.image_sets_dir or ""),
        index_dir=index_dir,
        checkpoints_dir=checkpoints_dir,
        min_free_bytes=int(settings.min_free_bytes),
        checkpoint_seconds=settings.checkpoint_seconds,
        content_url=content_url,
        allow_code=settings.allow_code,
        plugin_files=settings.plugin_files,
        allow_plugins=settings.allow_plugins,
        deny_plugins=settings.deny_plugins,
        environments=tuple(Environment(name, str(each.python), each.device) for name, each in settings.plugins.items()),
        strict=settings.strict,
        model_budget_bytes=int(settings.model_budget_bytes),  # plain, for the pipe
        device_memory_bytes=int(settings.device_memory_bytes),
        max_live_runs=settings.max_live_runs,
        max_batch=settings.max_batch,
        max_image_pixels=settings.max_image_pixels,
        warm_models=settings.warm_models,
        stall_seconds=settings.stall_seconds,
        max_run_memory_bytes=int(settings.max_run_memory_bytes),
        start_seconds=settings.start_seconds,
    )
