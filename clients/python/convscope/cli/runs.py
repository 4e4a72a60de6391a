"""The runs of a server: list them, stop them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, cast

import typer

from convscope.catalog import RunInfo
from convscope.cli.options import Json, Server, pairs, reached
from convscope.cli.render import write_json, write_table
from convscope.events import RunState

__all__ = ["cancel", "runs"]

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def runs(
    *,
    server: Server = None,
    state: Annotated[
        str | None, typer.Option(help="queued, running, succeeded, failed or cancelled.", show_default=False)
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
    rows = [(run.id, run.state, run.technique, run.model, _age(run), _labels(run)) for run in found]
    write_table(("run", "state", "technique", "model", "age", "labels"), rows, empty="no runs")


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


def cancel(
    run: Annotated[list[str], typer.Argument(metavar="RUN...", help="Ids of runs.", show_default=False)],
    server: Server = None,
    json: Json = False,
) -> None:
    """Ask runs to end at their next step."""
    with reached(server) as client:
        found = [client.cancel(run_id) for run_id in run]
    if json:
        write_json(found)
        return
    for info in found:
        ended = info.state in {"succeeded", "failed", "cancelled"}
        typer.echo(f"{info.id} {f'has ended: {info.state}' if ended else 'is asked to end'}")
