"""Check a technique against the contract."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from convscope._embedded import needs_server
from convscope.cli import exits, schema
from convscope.cli.options import Json, pairs
from convscope.cli.render import write_json, write_table

__all__ = ["check"]


def check(
    technique: Annotated[str, typer.Argument(metavar="TECHNIQUE", show_default=False)],
    *,
    plugin: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="Plugin file to load.", show_default=False)
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option(
            "--param", "-p", metavar="KEY=VALUE", help="Parameter of every run but defaults'.", show_default=False
        ),
    ] = None,
    expect: Annotated[
        list[str] | None,
        typer.Option(metavar="CHECK=REASON", help="A check that is to fail, and why.", show_default=False),
    ] = None,
    json: Json = False,
) -> None:
    """Check that a technique keeps the contract: on tiny networks, without a server.

    Every line says what was seen and why it matters. Exit code 1 where a check failed.
    """
    with needs_server():
        from convscope_sdk.conformance import CHECKS, Subject, run_checks
        from convscope_sdk.conformance.found import find
        from convscope_sdk.errors import TechniqueError, UnknownName
    try:
        found = find(technique, plugin or ())
        given = schema.parse(pairs(param, "-p"), found.params.json_schema())
        found.params.parse(given)
        outcomes = list(run_checks(Subject(found, params=given), CHECKS, pairs(expect, "--expect")))
    except TechniqueError as refusal:
        exits.complain(refusal.message)
        unknown = isinstance(refusal, UnknownName)
        raise typer.Exit(exits.NOT_FOUND if unknown else exits.USAGE) from refusal
    write_json([asdict(outcome) for outcome in outcomes]) if json else _show(technique, outcomes)
    if not all(outcome.ok for outcome in outcomes):
        raise typer.Exit(exits.FAILED)


def _show(technique: str, outcomes: Iterable[Any]) -> None:
    outcomes = list(outcomes)
    rows = [
        (o.check.removeprefix("check_").replace("_", " "), o.state, o.detail or "-", f"{o.seconds:.1f} s")
        for o in outcomes
    ]
    write_table(("check", "outcome", "what was seen", "took"), rows, empty="no checks")
    for outcome in outcomes:
        if outcome.state == "failed":
            typer.echo(f"\n{outcome.check}: {outcome.detail}\n  Why it matters: {outcome.reason}")
    counts = {state: sum(o.state == state for o in outcomes) for state in ("passed", "failed", "expected", "skipped")}
    typer.echo(f"\n{technique}: " + ", ".join(f"{count} {state}" for state, count in counts.items() if count))
