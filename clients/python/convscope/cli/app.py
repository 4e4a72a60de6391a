"""The commands, put together."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from convscope.cli import admin, check, demo, exits, image_sets, listing, new, run, runs, serve, token
from convscope.errors import ConvscopeError

__all__ = ["build"]


class _Group(TyperGroup):
    """Turns every error that can be expected into one message and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except ConvscopeError as error:
            exits.complain(exits.words(error))
            raise typer.Exit(exits.code_of(error)) from error
        except KeyboardInterrupt as error:
            raise typer.Exit(exits.INTERRUPTED) from error
        except BrokenPipeError as error:  # `convscope layers … | head`
            raise typer.Exit(exits.OK) from error


def build() -> typer.Typer:
    """A new instance of the whole command."""
    app = typer.Typer(
        name="convscope",
        cls=_Group,
        help="See what a convolutional network sees.",
        epilog=exits.EPILOG,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    commands = (
        serve.serve,
        run.run,
        run.watch,
        runs.runs,
        runs.cancel,
        runs.pause,
        runs.resume,
        runs.update,
        listing.techniques,
        listing.describe,
        listing.models,
        listing.layers,
        listing.plugins,
        new.new,
        check.check,
        demo.demo,
    )
    for command in commands:
        app.command(command.__name__, epilog=exits.EPILOG)(command)
    app.add_typer(token.app)
    app.add_typer(admin.app)
    app.add_typer(image_sets.build(), name="image-sets", epilog=exits.EPILOG)
    return app
