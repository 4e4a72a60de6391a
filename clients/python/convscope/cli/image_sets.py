"""Sets of pictures: list, make, show, forget."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from convscope._bundle import Progress
from convscope.catalog import ImageSetInfo
from convscope.cli import exits
from convscope.cli.options import ImageSets, Json, Server, opened, reached
from convscope.cli.render import write_json, write_table

__all__ = ["build"]

Name = Annotated[str, typer.Argument(metavar="NAME", show_default=False)]
Pictures = Annotated[list[Path], typer.Argument(metavar="FOLDER | FILE...", show_default=False)]
Replace = Annotated[bool, typer.Option("--replace", help="Replace a set of that name that has other pictures.")]

_KIB = 1024


def build() -> typer.Typer:
    """The commands below `convscope image-sets`."""
    app = typer.Typer(help="Sets of pictures that techniques look at as a whole.", no_args_is_help=True)
    for name, command in (("list", list_), ("create", create), ("show", show), ("delete", delete)):
        app.command(name, epilog=exits.EPILOG)(command)
    return app


def list_(server: Server = None, image_sets: ImageSets = None, json: Json = False) -> None:
    """List the image sets.

    Those listed have a name of their own; `torchvision:NAME` works as well where the files are there.
    """
    with opened(server, image_sets=image_sets) as client:
        found = client.image_sets.list()
    if json:
        write_json(found)
        return
    rows = [(s.name, s.source, f"{s.count:,}" if s.count else "-", _size(s), s.description) for s in found]
    write_table(("image set", "source", "pictures", "size", "description"), rows, empty="no image sets")


def create(name: Name, pictures: Pictures, server: Server = None, replace: Replace = False, json: Json = False) -> None:
    """Make an image set on the server of a folder, whose sub-folders are classes, or of files.

    Only what the server does not have is sent: after an interruption, repeat the command.
    """
    source: Path | list[Path] = pictures[0] if len(pictures) == 1 and pictures[0].is_dir() else pictures
    with reached(server) as client, _bar(f"sending {name}") as progress:
        made = client.image_sets.create(name, source, replace=replace, progress=progress)
    if json:
        write_json(made)
    else:
        _show(made)


def show(name: Name, server: Server = None, image_sets: ImageSets = None, json: Json = False) -> None:
    """Show an image set: how many pictures, and their labels."""
    with opened(server, image_sets=image_sets) as client:
        found = client.image_sets.get(name)
    if json:
        write_json(found)
    else:
        _show(found)


def delete(name: Name, server: Server = None) -> None:
    """Forget an image set that was made with `create`, and its pictures."""
    with reached(server) as client:
        client.image_sets.delete(name)
    typer.echo(f"deleted {name}")


def _show(found: ImageSetInfo) -> None:
    size = f", {_size(found)}" if found.size_bytes else ""
    typer.echo(f"{found.name}: {found.count:,} pictures{size}, from {found.source}")
    if found.description:
        typer.echo(found.description)
    for column, labels in found.labels.items():
        typer.echo()
        rows = [(label, f"{count:,}") for label, count in sorted(labels.items())]
        write_table((column, "pictures"), rows, empty="")


def _size(found: ImageSetInfo) -> str:
    if not found.size_bytes:
        return "-"
    size, unit = found.size_bytes / _KIB, "KiB"
    for larger in ("MiB", "GiB"):
        if size >= _KIB:
            size, unit = size / _KIB, larger
    return f"{size:.1f} {unit}"


@contextmanager
def _bar(title: str) -> Iterator[Progress]:
    """A progress bar on standard error; nothing where that is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bars(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        task = bars.add_task(title, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)
