"""Begin a plugin package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["new"]


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Lower-case words: edge-maps.", show_default=False)],
    *,
    into: Annotated[Path, typer.Option(metavar="DIR", help="Folder to make the package's in.")] = Path(),
    author: Annotated[str, typer.Option(help="For licence and metadata.", show_default=False)] = "",
) -> None:
    """Write a plugin package: one working technique, its tests, CI and a licence.

    Makes the folder convscope-NAME and overwrites nothing.
    """
    from convscope_sdk.scaffold import ScaffoldError, create

    try:
        made = create(name, into, author=author)
    except ScaffoldError as error:
        raise typer.BadParameter(str(error)) from error
    except OSError as error:
        raise typer.BadParameter(f"cannot write to {str(into)!r}: {error}") from error
    for path in made:
        typer.echo(str(path))
    folder = made[0].relative_to(into).parts[0]
    module = folder.removeprefix("convscope-").replace("-", "_")
    typer.echo(f"\nNext:\n  pip install -e {into / folder}\n  convscope check {module}.sensitivity")
    typer.echo(f"  convscope run {module}.sensitivity --image cat.png --out first")
