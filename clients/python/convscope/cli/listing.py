"""What a server offers: techniques, models, layers, plugins."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from convscope.catalog import LayerInfo, TechniqueInfo
from convscope.cli import inventory, schema
from convscope.cli.options import Json, Models, Plugins, Server, opened
from convscope.cli.render import write_json, write_table

__all__ = ["describe", "layers", "models", "plugins", "techniques"]

Technique = Annotated[str, typer.Argument(metavar="TECHNIQUE", show_default=False)]
Model = Annotated[str, typer.Argument(metavar="MODEL", show_default=False)]


def techniques(server: Server = None, plugin: Plugins = None, json: Json = False) -> None:
    """List the techniques that can be asked for."""
    found = _inventory(server, plugin).techniques
    if json:
        write_json(found)
        return
    rows = [(t.id, t.summary, t.cites or "-") for t in found]
    write_table(("technique", "what it shows", "after"), rows, empty="no techniques: `convscope plugins` says why")


def _inventory(server: str | None, plugin: Sequence[Path] | None) -> inventory.Inventory:
    """What there is; of the installed plugins what is remembered, and else what importing them shows."""
    alone = server is None and not plugin
    state = inventory.fingerprint() if alone else ""
    if alone and (known := inventory.recall(state)) is not None:
        return known
    with opened(server, plugins=plugin) as client:
        found = inventory.Inventory(tuple(client.techniques()), tuple(client.plugins()))
    if alone:
        inventory.remember(state, found)
    return found


def describe(technique: Technique, server: Server = None, plugin: Plugins = None, json: Json = False) -> None:
    """Show a technique, its parameters and its paper."""
    with opened(server, plugins=plugin) as client:
        found = client.technique(technique)
    if json:
        write_json(found)
    else:
        _describe(found)


def _describe(technique: TechniqueInfo) -> None:
    typer.echo(f"{technique.id}: {technique.summary}")
    if technique.cites:
        typer.echo(f"after {technique.cites}")
    typer.echo(f"from {technique.package} {technique.version}; needs {', '.join(sorted(technique.needs)) or 'nothing'}")
    if technique.resumable:
        steers = ", ".join(sorted(technique.steers)) or "nothing"
        typer.echo(f"can be paused; `convscope update` changes on the way: {steers}")
    typer.echo()
    rows = [(p.name, p.type, p.default, p.allowed, p.description) for p in schema.parameters(technique.params_schema)]
    write_table(("parameter", "type", "default", "allowed", "what it does"), rows, empty="It takes no parameters.")
    for role, description in technique.extra_images.items():
        typer.echo(f"\n--extra {role}=FILE: {description}")
    typer.echo(f"\nTry: {schema.example(technique)}")


def models(server: Server = None, models: Models = None, json: Json = False) -> None:
    """List the models.

    Those listed have a name of their own; `timm:NAME` and `torchvision:NAME` work as well.
    """
    with opened(server, models=models) as client:
        found = client.models()
    if json:
        write_json(found)
        return
    rows = [(m.name, m.kind, m.source, ", ".join(m.devices) or "-", m.description) for m in found]
    write_table(("model", "kind", "source", "on", "description"), rows, empty="no models")


def layers(model: Model, server: Server = None, models: Models = None, json: Json = False) -> None:
    """List the layers of a model, in order of execution."""
    with opened(server, models=models) as client:
        found = client.model(model)
    if json:
        write_json({"aliases": found.aliases, "layers": found.layers})
        return
    aliases: dict[str, list[str]] = {}
    for alias, name in found.aliases.items():
        aliases.setdefault(name, []).append(alias)
    rows = [(*_layer(layer), ", ".join(aliases.get(layer.name, ["-"]))) for layer in found.layers]
    headings = ("layer", "kind", "output", "parameters", "sees", "alias")
    write_table(headings, rows, empty=f"{model} has no layers")


def _layer(layer: LayerInfo) -> tuple[str, str, str, str, str]:
    seen = layer.receptive_field
    pixels = "-" if seen is None else f"{seen.size[0]}x{seen.size[1]} px"
    shape = "x".join(str(edge) for edge in layer.output_shape)
    return layer.name, layer.kind, shape, f"{layer.parameters:,}" if layer.parameters else "-", pixels


def plugins(server: Server = None, plugin: Plugins = None, json: Json = False) -> None:
    """List the plugins, the broken ones with their reason."""
    found = _inventory(server, plugin).plugins
    if json:
        write_json(found)
        return
    rows = [
        (
            p.name,
            p.package or "-",
            p.version or "-",
            p.state,
            _seconds(p.import_seconds),
            p.reason or _brought(p.techniques),
        )
        for p in found
    ]
    headings = ("plugin", "package", "version", "state", "import", "techniques, or what is wrong")
    write_table(headings, rows, empty="no plugins")


def _seconds(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds else "-"


def _brought(techniques: tuple[str, ...]) -> str:
    return ", ".join(techniques) or "no techniques"
