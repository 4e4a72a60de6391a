"""Start a server."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from convscope._embedded import needs_server

__all__ = ["serve"]


Devices = Annotated[
    str | None, typer.Option(metavar="NAME,...", help="cpu, cuda:0, …", show_default="every usable one")
]
ModelsDir = Annotated[Path | None, typer.Option(metavar="DIR", help="Models: NAME/model.toml.", show_default=False)]
ImageSetsDir = Annotated[Path | None, typer.Option(metavar="DIR", help="Image sets: NAME/*/*.jpg.", show_default=False)]
PluginFiles = Annotated[
    list[Path] | None, typer.Option(metavar="FILE", help="Plugin file to load.", show_default=False)
]
AllowPlugins = Annotated[
    str | None, typer.Option(metavar="NAME,...", help="Installed plugins to load; '' for none.", show_default="all")
]
DenyPlugins = Annotated[
    str | None, typer.Option(metavar="NAME,...", help="Installed plugins not to load.", show_default=False)
]
DataDir = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Runs and results.", show_default="~/.local/share/convscope")
]
Database = Annotated[
    str | None,
    typer.Option(metavar="URL", help="PostgreSQL for runs: postgresql://USER@HOST/NAME.", show_default="SQLite"),
]
Warm = Annotated[
    str | None,
    typer.Option(metavar="NAME,...", help="Models to load first; '' for none.", show_default="efficientnet_lite0"),
]
ConfigFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Settings.", show_default="convscope.toml, if there is one")
]
TokensFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Ask for a token: `convscope token create NAME`.", show_default=False),
]
TlsSelfSigned = Annotated[bool | None, typer.Option("--tls-self-signed", help="TLS with a certificate made here.")]
TlsCert = Annotated[
    Path | None, typer.Option(metavar="FILE", help="TLS with this certificate (PEM).", show_default=False)
]
TlsKey = Annotated[Path | None, typer.Option(metavar="FILE", help="Its private key.", show_default=False)]
TlsClientCa = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Clients need a certificate of this authority.", show_default=False)
]
Insecure = Annotated[
    int, typer.Option("--insecure", count=True, help="Twice: serve other machines without TLS or tokens.")
]


def serve(
    *,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one.", show_default="8470")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")] = None,
    devices: Devices = None,
    models: ModelsDir = None,
    image_sets: ImageSetsDir = None,
    plugin: PluginFiles = None,
    allow_plugins: AllowPlugins = None,
    deny_plugins: DenyPlugins = None,
    data: DataDir = None,
    database: Database = None,
    strict: Annotated[bool | None, typer.Option("--strict", help="A broken plugin stops the server.")] = None,
    tokens_file: TokensFile = None,
    tls_self_signed: TlsSelfSigned = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    tls_client_ca: TlsClientCa = None,
    insecure: Insecure = 0,
    allow_code: Annotated[bool | None, typer.Option("--allow-code", help="model.toml may name Python code.")] = None,
    warm: Warm = None,
    log_format: Annotated[str | None, typer.Option(help="text or json.", show_default="text")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.", show_default="info")] = None,
    config: ConfigFile = None,
) -> None:
    """Start a server.

    It serves until Ctrl-C or SIGTERM, and then lets live runs end; a second signal does not wait for them.
    Flags count first, then CONVSCOPE_* variables, then the settings file.
    """
    flags = {
        "port": port,
        "host": host,
        "devices": devices,
        "models_dir": models,
        "image_sets_dir": image_sets,
        "plugin_files": None if plugin is None else tuple(map(str, plugin)),
        "allow_plugins": allow_plugins,
        "deny_plugins": deny_plugins,
        "data_dir": data,
        "database": database,
        "strict": strict,
        "insecure": insecure or None,
        "tokens_file": tokens_file,
        "tls_self_signed": tls_self_signed,
        "tls_cert": tls_cert,
        "tls_key": tls_key,
        "tls_client_ca": tls_client_ca,
        "allow_code": allow_code,
        "warm_models": warm,
        "log_format": log_format,
        "log_level": log_level,
    }
    raise typer.Exit(_serve(config, flags))


def _serve(config: Path | None, flags: dict[str, Any]) -> int:
    with needs_server():
        from convscope_server.app import serve as serve_until_stopped
        from convscope_server.config import Settings, SettingsError
    try:
        settings = Settings.load(config, os.environ, flags)
    except SettingsError as error:
        raise typer.BadParameter(str(error)) from error
    return serve_until_stopped(settings)
