"""Options that several commands share, and the client that they lead to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from convscope.client import Client, connect, embedded

__all__ = ["ImageSets", "Json", "Models", "Params", "Plugins", "Server", "opened"]

Server = Annotated[
    str | None,
    typer.Option(
        "--server",
        "-s",
        envvar="CONVSCOPE_SERVER",
        metavar="HOST:PORT",
        help="Server to ask, or a profile's name; CONVSCOPE_TOKEN and CONVSCOPE_CA (a file) go with it.",
        show_default=False,
    ),
]
Params = Annotated[
    list[str] | None,
    typer.Option("--param", "-p", metavar="KEY=VALUE", help="Parameter of the technique.", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="Write JSON to standard output.")]
Plugins = Annotated[
    list[Path] | None,
    typer.Option("--plugin", metavar="FILE", help="Plugin file to load, without a server.", show_default=False),
]
Models = Annotated[
    Path | None,
    typer.Option("--models", metavar="DIR", help="Directory of models, without a server.", show_default=False),
]
ImageSets = Annotated[
    Path | None,
    typer.Option("--image-sets", metavar="DIR", help="Directory of image sets, without a server.", show_default=False),
]

_LOCAL = "127.0.0.1:8470"


@contextmanager
def opened(
    server: str | None,
    *,
    plugins: Sequence[Path] | None = None,
    models: Path | None = None,
    image_sets: Path | None = None,
) -> Iterator[Client]:
    """A client of the server, or of one inside this process where none is configured.

    Raises:
        BadParameter: plugins, models or image sets were given together with a server, which has its own.
    """
    if server is None:
        with embedded(plugin_files=plugins or (), models_dir=models, image_sets_dir=image_sets) as client:
            yield client
        return
    if plugins or models is not None or image_sets is not None:
        raise typer.BadParameter(
            "--plugin, --models and --image-sets are for a run without a server: start the server with them"
        )
    with reached(server) as client:
        yield client


def reached(server: str | None) -> Client:
    """A client of the server; of the one that `convscope serve` starts on this machine where none is configured."""
    return connect(server or _LOCAL)


def pairs(given: Sequence[str] | None, option: str) -> dict[str, str]:
    """`key=value` arguments as a dict.

    Raises:
        BadParameter: there is no equals sign.
    """
    found: dict[str, str] = {}
    for item in given or ():
        key, equals, value = item.partition("=")
        if not equals or not key:
            raise typer.BadParameter(f"write {option} KEY=VALUE, not {item!r}")
        found[key] = value
    return found
