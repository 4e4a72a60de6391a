"""The runs of a server: list them, stop them, pause them, change them on the way."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, cast

import typer

from convscope.catalog import RunInfo
from convscope.cli import schema
from convscope.cli.options import Json, Params, Server, pairs, reached
from convscope.cli.render import write_json, write_table
from convscope.events import RunState, update_words

__all__ = ["cancel", "pause", "resume", "runs", "update"]

Ids = Annotated[list[str], typer.Argument(metavar="RUN...", help="Ids of runs.", show_default=False)]

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def runs(
    *,
    server: Server = None,
    state: Annotated[
        str | None, typer.Option(help="queued, running, paused, succeeded, failed or cancelled.", show_default=False)
    ] = None,
    technique: Annotated[str, typer.Option("--technique", "-t", help="Only runs of this technique.")] = "",
    model: Annotated[str, typer.Option("--model", "-m", help="Only runs on this model.")] = "",
    label: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Only runs with this label.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many at most.")] = 20,
    json: Json = False,
) -> None:
    """List runs, newest first."""
    with reached(server) as client:
        found = client.runs(
            state=cast("RunState | None", state),
            technique=technique,
            model=model,
            labels=pairs(label, "--label"),
            limit=limit,
        )
    if json:
        write_json(found)
        return
    rows = [
        (r.id, r.state, r.technique, r.model, r.priority, f"{r.device_seconds:.1f} s", _age(r), _labels(r))
        for r in found
    ]
    write_table(("run", "state", "technique", "model", "priority", "device", "age", "labels"), rows, empty="no runs")


def _age(run: RunInfo) -> str:
    if run.create_time is None:
        return "-"
    seconds = (datetime.now(UTC) - run.create_time).total_seconds()
    for unit, length in (("d", _DAY), ("h", _HOUR), ("min", _MINUTE)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def _labels(run: RunInfo) -> str:
    return ", ".join(f"{key}={value}" for key, value in run.labels.items()) or "-"


def cancel(run: Ids, server: Server = None, json: Json = False) -> None:
    """Ask runs to end at their next step."""
    with reached(server) as client:
        found = [client.cancel(run_id) for run_id in run]
    write_json(found) if json else _tell(found, "is asked to end")


def pause(run: Ids, server: Server = None, json: Json = False) -> None:
    """Take runs off their devices until they are resumed."""
    with reached(server) as client:
        found = [client.pause(run_id) for run_id in run]
    write_json(found) if json else _tell(found, "is asked to pause", paused="is paused")


def resume(run: Ids, server: Server = None, json: Json = False) -> None:
    """Let paused runs go on."""
    with reached(server) as client:
        found = [client.resume(run_id) for run_id in run]
    write_json(found) if json else _tell(found, "goes on")


def update(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Id of the run.", show_default=False)],
    param: Params = None,
    server: Server = None,
    json: Json = False,
) -> None:
    """Change parameters of a run on the way; `convscope describe TECHNIQUE` says which."""
    with reached(server) as client:
        known = client.technique(client.run(run).technique).params_schema
        info = client.update(run, **schema.parse(pairs(param, "-p"), known))
    if json:
        write_json(info)
    else:
        typer.echo(f"{info.id} {update_words(*info.updates[-1])}")


def _tell(runs: Sequence[RunInfo], words: str, **of_state: str) -> None:
    """What is true of each run now: that it has ended, what is said of its state, or else `words`."""
    for info in runs:
        ended = info.state in {"succeeded", "failed", "cancelled"}
        typer.echo(f"{info.id} {f'has ended: {info.state}' if ended else of_state.get(info.state, words)}")
