"""Run a technique, or watch a run that is already there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from convscope._animation import FORMATS
from convscope.cli import exits, schema
from convscope.cli.board import Board, show
from convscope.cli.options import ImageSets, Json, Models, Params, Plugins, Server, opened, pairs, reached
from convscope.cli.render import console, write_json
from convscope.client import DEFAULT_MODEL, Client
from convscope.errors import ConvscopeError
from convscope.events import CachePolicy, Priority
from convscope.result import Result
from convscope.run import Run

__all__ = ["run", "watch"]

Preview = Annotated[
    bool | None,
    typer.Option(
        "--preview/--no-preview",
        help="Show previews here; in half blocks where the terminal has no graphics.",
        show_default="where the terminal has graphics",
    ),
]
Out = Annotated[
    Path | None, typer.Option("--out", "-o", metavar="DIR", help="Where results go.", show_default="TECHNIQUE-RUN")
]


def _animated(file: Path | None) -> Path | None:
    if file is not None and file.suffix.lower() not in FORMATS:
        raise typer.BadParameter(f"{file} ends in none of {', '.join(FORMATS)}")
    return file


Animation = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Also write the previews as an animation: .webp, .gif or .png.",
        show_default=False,
        callback=_animated,
    ),
]

Labels = Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="To find the run by.", show_default=False)]
MediaTypes = Annotated[
    list[str] | None,
    typer.Option("--as", metavar="MEDIA_TYPE", help="What results are written as (image/webp).", show_default=False),
]


Updates = Annotated[
    list[str] | None,
    typer.Option(metavar="STEP:KEY=VALUE", help="Change a parameter on the way, behind a step.", show_default=False),
]


def run(
    technique: Annotated[str, typer.Argument(metavar="TECHNIQUE", show_default=False)],
    *,
    image: Annotated[Path | None, typer.Option("--image", "-i", help="Picture to look at.", show_default=False)] = None,
    model: Annotated[str, typer.Option("--model", "-m", help="Model to look into.")] = DEFAULT_MODEL,
    param: Params = None,
    update: Updates = None,
    extra: Annotated[
        list[str] | None, typer.Option(metavar="ROLE=FILE", help="Further picture (style, …).", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of every random number.")] = 0,
    out: Out = None,
    animation: Animation = None,
    detach: Annotated[bool, typer.Option("--detach", help="Print the run's id, and let it go on alone.")] = False,
    label: Labels = None,
    deadline: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Fails after that.", show_default=False)
    ] = None,
    media_type: MediaTypes = None,
    max_restarts: Annotated[int, typer.Option(min=0, max=10, help="Start again when the worker is lost.")] = 0,
    priority: Annotated[Priority, typer.Option(help="How urgent it is beside other runs.")] = "normal",
    cache: Annotated[CachePolicy, typer.Option(help="Whether an identical run may stand for this one.")] = "default",
    preview: Preview = None,
    server: Server = None,
    plugin: Plugins = None,
    models: Models = None,
    image_sets: ImageSets = None,
    json: Json = False,
) -> None:
    """Run a technique on a picture; Ctrl-C cancels it.

    What it makes is saved. With no server configured, everything happens inside this process.
    """
    if detach:
        _check_detached(animation, server)
    with opened(server, plugins=plugin, models=models, image_sets=image_sets) as client:
        known = client.technique(technique).params_schema
        started = client.visualize(
            technique,
            image=image,
            model=model,
            extra_images={role: Path(file) for role, file in pairs(extra, "--extra").items()},
            seed=seed,
            detach=detach,
            labels=pairs(label, "--label"),
            deadline=deadline,
            max_restarts=max_restarts,
            previews=None if animation is None else {"min_interval": 0.0},
            media_types=media_type or (),
            priority=priority,
            cache=cache,
            updates=_updates(update, known),
            **_as_params(schema.parse(pairs(param, "-p"), known)),
        )
        if detach:
            write_json({"run": started.id}) if json else typer.echo(started.id)
            return
        result = _follow_or_cancel(client, started, Board(technique, preview=preview))
        _finish(result, out or Path(f"{technique}-{started.id[:8]}"), animation, preview=preview, json=json)


def watch(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Id of the run.", show_default=False)],
    *,
    after: Annotated[int, typer.Option(min=0, help="Last event already seen.")] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="DIR", help="Where results go.", show_default="nowhere")
    ] = None,
    animation: Animation = None,
    preview: Preview = None,
    server: Server = None,
    json: Json = False,
) -> None:
    """Watch a run to its end; Ctrl-C stops only watching."""
    with reached(server) as client:
        watched = client.attach(run, after)
        try:
            with Board(client.run(run).technique, preview=preview) as board:
                result = watched.result(on_event=board.update)
        except KeyboardInterrupt as error:
            exits.complain(f"no longer watching; go on with: convscope watch {run} --after {watched.sequence}")
            raise typer.Exit(exits.INTERRUPTED) from error
        _finish(result, out, animation, preview=preview, json=json)


def _check_detached(animation: Path | None, server: str | None) -> None:
    if animation is not None:
        raise typer.BadParameter("--detach does not wait for an animation: give --animation to `convscope watch`")
    if server is None:
        raise typer.BadParameter("--detach needs a server that goes on without this process: give --server")


def _updates(given: Sequence[str] | None, known: Mapping[str, Any]) -> list[tuple[int, dict[str, Any]]]:
    """What changes behind each step, by rising step.

    Raises:
        BadParameter: there is no step, or no equals sign.
    """
    found: dict[int, dict[str, str]] = {}
    for item in given or ():
        step, _, change = item.partition(":")
        if not step.isdecimal():
            raise typer.BadParameter(f"write --update STEP:KEY=VALUE, not {item!r}")
        found.setdefault(int(step), {}).update(pairs([change], f"--update {step}:"))
    return [(step, schema.parse(changes, known)) for step, changes in sorted(found.items())]


def _as_params(params: dict[str, Any]) -> dict[str, Any]:
    """The parameters, none of which may bear the name of an option.

    Raises:
        BadParameter: one does.
    """
    taken = {"image", "model", "extra_images", "seed", "detach", "request_id", "labels", "deadline", "previews"}
    taken |= {"cache", "max_restarts", "media_types", "priority", "technique", "updates"}
    for name in sorted(params.keys() & taken):
        raise typer.BadParameter(f"{name!r} is no parameter; see the options of `convscope run --help`")
    return params


def _follow_or_cancel(client: Client, run: Run, board: Board) -> Result:
    try:
        with board:
            return run.result(on_event=board.update)
    except KeyboardInterrupt as error:
        exits.complain(_cancelled(client, run.id))
        raise typer.Exit(exits.INTERRUPTED) from error


def _cancelled(client: Client, run_id: str) -> str:
    try:
        client.cancel(run_id)
    except ConvscopeError as error:
        return f"run {run_id} could not be cancelled: {error}; try again: convscope cancel {run_id}"
    return f"cancelled run {run_id}"


def _finish(result: Result, out: Path | None, animation: Path | None, *, preview: bool | None, json: bool) -> None:
    paths = [] if out is None else result.save(out)
    if animation is not None:
        paths.append(result.animation(animation))
    if json:
        write_json({"run": result.run_id, "report": result.report, "files": paths})
        return
    if any(artifact.kind == "image" and artifact.name != "input" for artifact in result.artifacts):
        show(result.image, console(), preview=preview)
    for line in _summary(result, paths):
        typer.echo(line)


def _summary(result: Result, paths: Sequence[Path]) -> list[str]:
    report = result.report
    lines = [f"{p.probability:6.1%}  {p.label}" for p in report.predictions]
    lines += [f"{name}: {value:.6g}" for name, value in report.scores.items()]
    lines += [f"note: {note}" for note in report.notes]
    return lines + [str(path) for path in paths]
