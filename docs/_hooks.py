"""Reference pages made from the code when the site is built, so that they cannot disagree with it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from mkdocs.structure.files import File, Files

from _gallery.pages import gallery_pages
from _gallery.plan import read_plan
from _parameters import cell, default, details, parameter_table

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig

    from convscope_sdk.technique import Technique


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Puts the gallery into the navigation, after the tutorial."""
    titles = {f"gallery/{entry.technique}.md": entry.title for entry in read_plan().values()}
    pages = [{titles[path]: path} if path in titles else path for path in _gallery()]
    assert config.nav is not None
    config.nav.insert(2, {"Gallery": pages})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the generated pages."""
    for path, make in (
        ("reference/techniques.md", techniques_page),
        ("reference/cli.md", cli_page),
        ("reference/settings.md", settings_page),
    ):
        files.append(File.generated(config, path, content=make()))
    for path, text in _gallery().items():
        files.append(File.generated(config, path, content=text))
    return files


def techniques_page() -> str:
    """Every built-in technique with its parameters, from the schemas that the server checks requests against."""
    from convscope_techniques import convscope_techniques

    sections = [_technique(technique) for technique in convscope_techniques()]
    return "\n\n".join(["# Techniques", _TECHNIQUES_INTRO, *sections])


def cli_page() -> str:
    """`--help` of the command and of every subcommand."""
    lines = ["# Command line", "What each command says with `--help`.", _console("convscope", _help())]
    for command in subcommands(_help()):
        lines += [f"## `convscope {command}`", _console(f"convscope {command}", _help(command))]
        for further in subcommands(_help(command)):
            lines += [f"### `convscope {command} {further}`"]
            lines += [_console(f"convscope {command} {further}", _help(command, further))]
    return "\n\n".join(lines)


def settings_page() -> str:
    """Every setting of a server with its type, default and meaning."""
    from convscope_server.config import Settings

    rows = ["| setting | variable | default | meaning |", "|---|---|---|---|"]
    schema = Settings.model_json_schema()["properties"]
    for name, field in Settings.model_fields.items():
        value = "XDG data home" if field.default_factory else default(field.default)
        description = cell(schema[name].get("description", ""))
        variable = "none" if name == "plugins" else f"`CONVSCOPE_{name.upper()}`"
        rows.append(f"| `{name}` | {variable} | {value} | {description} |")
    return "\n\n".join(["# Settings", _SETTINGS_INTRO, "\n".join(rows)])


def subcommands(text: str) -> list[str]:
    """Names of the commands that a help text lists."""
    listed = text.partition("Commands")[2]
    return re.findall(r"^\W{1,4}([a-z][a-z-]*)  ", listed, flags=re.MULTILINE)


def _gallery() -> dict[str, str]:
    from convscope_techniques import convscope_techniques

    return gallery_pages(list(convscope_techniques()))


_TECHNIQUES_INTRO = """\
What this installation brings; `convscope techniques` lists what *your* server has, plugins included.
Targets and layers are written in [one language](../how-to/write-a-technique.md#targets-and-layers).

Every technique that looks at a picture also returns `images["input"]`, the exact pixels that the network saw.
A map comes three times: in colour under its own name, over the picture as `overlay`, and raw as a tensor."""

_SETTINGS_INTRO = """\
A server takes each setting from the first of these that has it:

1. a flag of `convscope serve` (see the [command line](cli.md)),
2. an environment variable,
3. `convscope.toml` in the working directory, with the names below at its top level.

An unknown name is an error that says where it was found and what was probably meant.
Times are in seconds; sizes are in bytes and may be written `64 MiB`; lists are comma-separated, in TOML arrays.

```toml title="convscope.toml"
port = 8470
devices = ["cuda:0", "cuda:1"]
models_dir = "/srv/models"
max_live_runs = 8
```"""


def _technique(technique: Technique[Any]) -> str:
    needs = ", ".join(f"`{need}`" for need in sorted(technique.needs)) or "nothing"
    parts = [
        f"## {technique.id}",
        technique.summary,
        *details(technique),
        f"Needs {needs}. Follows {technique.cites}.",
    ]
    return "\n\n".join([*parts, parameter_table(technique)])


def _console(command: str, text: str) -> str:
    return f"```console\n$ {command} --help\n{text.strip()}\n```"


def _help(*command: str) -> str:
    plain = {"COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1", "TERMINAL_WIDTH": "100"}
    done = subprocess.run(  # noqa: S603 - our own command, in this interpreter
        [sys.executable, "-m", "convscope", *command, "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **plain},
    )
    said = done.stdout.replace("python -m convscope", "convscope")
    return "\n".join(line.rstrip() for line in said.splitlines())
