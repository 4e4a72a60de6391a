"""Who may use a server: make, list and revoke its tokens."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from convscope._embedded import needs_server
from convscope.cli import exits

__all__ = ["app"]

app = typer.Typer(
    name="token", help="Make, list and revoke tokens of a server.", no_args_is_help=True, rich_markup_mode=None
)

TokensFile = Annotated[
    Path | None,
    typer.Option(
        "--tokens-file",
        metavar="FILE",
        envvar="CONVSCOPE_TOKENS_FILE",
        help="The server's tokens file.",
        show_default="convscope/tokens.toml in the data home",
    ),
]


@app.command(epilog=exits.EPILOG)
def create(
    name: Annotated[str, typer.Argument(help="Principal that it stands for: their runs are filed under it.")],
    *,
    admin: Annotated[bool, typer.Option("--admin", help="They see everyone's runs and manage models.")] = False,
    days: Annotated[float | None, typer.Option(min=0.001, help="Good for so long.", show_default="for ever")] = None,
    tokens_file: TokensFile = None,
) -> None:
    """Make a token and print it, this once.

    A running server takes it at once. To rotate, create another one for the same name, then revoke the first.
    """
    with needs_server():
        from convscope_server.access.tokens import TokensFileError, create_token
    file = _file(tokens_file)
    try:
        token, entry = create_token(file, name, admin=admin, days=days)
    except TokensFileError as error:
        raise typer.BadParameter(str(error)) from error
    exits.complain(f"token {entry.id} of {name} is in {file}, as a hash; it is shown only now:")
    typer.echo(token)


@app.command(name="list", epilog=exits.EPILOG)
def list_tokens(*, tokens_file: TokensFile = None) -> None:
    """List the tokens of a server, which it knows by their hashes."""
    with needs_server():
        from convscope_server.access.tokens import TokensFileError, read_tokens
    try:
        entries = read_tokens(_file(tokens_file))
    except TokensFileError as error:
        raise typer.BadParameter(str(error)) from error
    table = Table("id", "principal", "admin", "created", "expires", box=None)
    for entry in entries:
        expires = "never" if entry.expires is None else _moment(entry.expires)
        table.add_row(entry.id, entry.name, "yes" if entry.admin else "", _moment(entry.created), expires)
    Console().print(table)


@app.command(epilog=exits.EPILOG)
def revoke(
    which: Annotated[str, typer.Argument(help="Id of a token, or a principal for all of theirs.")],
    *,
    tokens_file: TokensFile = None,
) -> None:
    """Revoke a token, or all of a principal; a running server takes it no more from the next call on."""
    with needs_server():
        from convscope_server.access.tokens import TokensFileError, revoke_tokens
    file = _file(tokens_file)
    try:
        gone = revoke_tokens(file, which)
    except TokensFileError as error:
        raise typer.BadParameter(str(error)) from error
    if not gone:
        exits.complain(f"no token {which!r} in {file}; `convscope token list` names them")
        raise typer.Exit(exits.NOT_FOUND)
    typer.echo(f"revoked {', '.join(entry.id for entry in gone)}")


def _file(given: Path | None) -> Path:
    with needs_server():
        from convscope_server.config import tokens_home
    return given or tokens_home(os.environ)


def _moment(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds).astimezone().isoformat(sep=" ", timespec="minutes")
