"""What an operator does to a server's data directory: tidy it, take a run out, check that it is whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convscope._embedded import needs_server
from convscope.cli import exits

if TYPE_CHECKING:
    from convscope_server.config import Settings

__all__ = ["app"]

app = typer.Typer(
    name="admin", help="Tidy, export and verify a server's store.", no_args_is_help=True, rich_markup_mode=None
)

DataDir = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="The server's.", show_default="~/.local/share/convscope"),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Its settings.", show_default="convscope.toml, if there is one"),
]
KeepSeconds = Annotated[
    float | None, typer.Option(min=0, help="Time after its end that a run is kept.", show_default="the server's")
]
KeepBytes = Annotated[
    str | None, typer.Option(metavar="SIZE", help="What runs may take: 20 GiB.", show_default="the server's")
]

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")
_STEP = 1024


@app.command(epilog=exits.EPILOG)
def gc(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    keep_seconds: KeepSeconds = None,
    keep_bytes: KeepBytes = None,
    data: DataDir = None,
    config: ConfigFile = None,
) -> None:
    """Remove runs that are not to be kept any more, files that nothing refers to, and indexes that nobody uses.

    The server must be stopped: a running one does this by itself. Bounds are its settings keep_seconds, keep_bytes
    and keep_upload_seconds unless given here.
    """
    settings = _settings(config, data_dir=data, keep_seconds=keep_seconds, keep_bytes=keep_bytes)
    with _refusals():
        from convscope_server.storage.gc import collect, rehearse
        from convscope_server.storage.place import Place, keep_limits

        tidied = (rehearse if dry_run else collect)(Place.of(settings), keep_limits(settings))
    for run in tidied.runs:
        typer.echo(run)
    done = "would remove" if dry_run else "removed"
    exits.complain(
        f"{done} {len(tidied.runs)} runs ({_size(tidied.log_bytes)} of events), {_size(tidied.blob_bytes)} of files, "
        f"{_size(tidied.index_bytes)} of indexes and {tidied.broken_off} broken-off uploads"
    )


@app.command(epilog=exits.EPILOG)
def export(
    run: Annotated[str, typer.Argument(help="Id of a run.", show_default=False)],
    target: Annotated[Path, typer.Argument(help="A folder to make, or a file ending in .zip.", show_default=False)],
    *,
    data: DataDir = None,
    config: ConfigFile = None,
) -> None:
    """Write a run with its events, inputs and results to a folder or a zip file, to be read without convscope.

    It may be alive, and the server running. Exit code 1 says that files are missing from the store.
    """
    settings = _settings(config, data_dir=data)
    with _refusals():
        from convscope_server.storage.export import NoRunError, export_run
        from convscope_server.storage.place import Place

        try:
            missing = export_run(Place.of(settings), run, target)
        except NoRunError as error:
            raise _Refused(str(error), exits.NOT_FOUND) from error
        except FileExistsError as error:
            raise _Refused(str(error), exits.USAGE) from error
    typer.echo(target)
    for digest in missing:
        exits.complain(f"{digest} is missing from the store; `convscope admin verify` looks for more damage")
    if missing:
        raise typer.Exit(exits.FAILED)


@app.command(epilog=exits.EPILOG)
def verify(*, data: DataDir = None, config: ConfigFile = None) -> None:
    """Check that everything is there and whole: files against their digests, logs, references, the database.

    It reads only, and the server may run. A line for each damage; exit code 1 where there is one.
    """
    settings = _settings(config, data_dir=data)
    with _refusals():
        from convscope_server.storage.place import Place
        from convscope_server.storage.verify import verify as look

        found = look(Place.of(settings))
    for damage in found.damages:
        typer.echo(damage)
    seen = f"{found.runs:,} runs, {found.events:,} events and {found.blobs:,} files"
    exits.complain(f"{seen}: {f'{len(found.damages):,} damages' if found.damages else 'all whole'}")
    if found.damages:
        raise typer.Exit(exits.FAILED)


class _Refused(Exception):
    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


@contextmanager
def _refusals() -> Iterator[None]:
    """Turns what can be expected into one message and an exit code."""
    with needs_server():
        from convscope_server.room import StorageFullError
        from convscope_server.runs.lock import DataDirectoryLockedError
        from convscope_server.runs.postgres import StoreUnreachableError
        from convscope_server.runs.schema import StoreVersionError
        from convscope_server.storage.place import NoStoreError
    try:
        yield
    except StorageFullError as error:
        exits.complain("there is no room left on the disk, not even to remove something: free a few MiB and try again")
        raise typer.Exit(exits.REFUSED) from error
    except (DataDirectoryLockedError, StoreUnreachableError, StoreVersionError, NoStoreError, _Refused) as error:
        codes = {NoStoreError: exits.NOT_FOUND, StoreUnreachableError: exits.UNREACHABLE}
        code = codes.get(type(error), getattr(error, "code", exits.REFUSED))
        exits.complain(str(error))
        raise typer.Exit(code) from error


def _settings(config: Path | None, **flags: Any) -> Settings:
    with needs_server():
        from convscope_server.config import Settings, SettingsError
    try:
        return Settings.load(config, os.environ, flags)
    except SettingsError as error:
        raise typer.BadParameter(str(error)) from error


def _size(count: float) -> str:
    for unit in _UNITS[:-1]:
        if count < _STEP:
            return f"{count:.0f} {unit}" if unit == _UNITS[0] else f"{count:.1f} {unit}"
        count /= _STEP
    return f"{count:.1f} {_UNITS[-1]}"
