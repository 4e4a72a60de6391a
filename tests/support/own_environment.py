"""A virtual environment with a plugin that nobody else has, made without a download."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

__all__ = ["own_environment"]

PLUGIN = '''
"""Says which interpreter it runs in."""

import os
import sys
from collections.abc import Iterator

from convscope_sdk import Event, Params, Run, Text, technique
from convscope_sdk.hookspecs import hookimpl


@technique("lonely.where")
def where(run: Run[Params]) -> Iterator[Event]:
    """Where it runs."""
    yield Text("prefix", sys.prefix)
    yield Text("pid", str(os.getpid()))


@technique("lonely.crash")
def crash(run: Run[Params]) -> Iterator[Event]:
    """Takes its worker down."""
    yield Text("prefix", sys.prefix)
    os._exit(3)


@hookimpl
def convscope_techniques() -> list:
    return [where, crash]
'''


def own_environment(folder: Path, *, convscope: str = "") -> Path:
    """Its interpreter. It sees what this one sees and, besides, the distribution convscope-lonely 0.3.

    Args:
        folder: Where to make it.
        convscope: The version that its convscope claims to be; this one's where absent.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "shared.pth").write_text("\n".join(path for path in sys.path if path and Path(path).is_dir()))
    (packages / "convscope_lonely.py").write_text(PLUGIN)
    _distribution(packages, "convscope-lonely", "0.3", "[convscope.v1]\nlonely = convscope_lonely\n")
    if convscope:
        _distribution(packages, "convscope", convscope, "")
    return folder / "bin" / "python"


def _distribution(packages: Path, name: str, version: str, entry_points: str) -> None:
    folder = packages / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (folder / "entry_points.txt").write_text(entry_points)
