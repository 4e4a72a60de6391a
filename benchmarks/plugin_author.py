"""What a plugin author waits for: from nothing to a first picture, the SDK's import, a listing of many plugins.

Bounds are on processor seconds, which other work on the machine does not change; wall seconds are in the details.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import venv
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness import photograph, scratch
from benchmarks.result import Measure, Result, median

BOUND_FIRST_PICTURE = 60.0
BOUND_COMMANDS = 5
BOUND_SDK = 0.3
BOUND_LISTING = 0.5
PLUGINS = 50

_PLUGIN = '''from convscope_sdk import Params, Text, technique

@technique("bench_{number}.words", params=Params)
def words(run):
    """Says its number, for a benchmark."""
    yield Text("number", "{number}")
'''


def run(*, quick: bool = False) -> Result:
    """Machine seconds of a newcomer's four commands; seconds of `import convscope_sdk`; of `convscope techniques`."""
    rounds = 2 if quick else 7
    with scratch() as folder:
        commands, seconds, wall = _newcomer(folder)
        first, listings, listing_wall = _listings(folder, rounds)
    code = "import time; t = time.process_time(); import convscope_sdk, sys; print(time.process_time() - t)"
    imports = [float(_call([sys.executable, "-c", code])) for _ in range(rounds)]
    torch = _call([sys.executable, "-c", "import convscope_sdk, sys; print(int('torch' in sys.modules))"])
    measures = (
        Measure("convscope new to the first picture, processor seconds", seconds, BOUND_FIRST_PICTURE, "s"),
        Measure("commands of that path", commands, BOUND_COMMANDS, ""),
        Measure("import convscope_sdk, processor seconds", median(imports), BOUND_SDK, "s"),
        Measure("torch imported with the SDK", float(torch), 0.0, ""),
        Measure(
            f"convscope techniques, {PLUGINS} plugins installed, processor seconds",
            median(listings),
            BOUND_LISTING,
            "s",
        ),
    )
    details = {"first_picture_wall": wall, "first_listing": first, "listing_wall": listing_wall}
    return Result("plugin_author", measures, details)


def _newcomer(folder: Path) -> tuple[int, float, float]:
    """Commands, their processor seconds and their wall seconds; a bare environment is set up before."""
    python, variables = _environment(folder / "venv")
    (folder / "cat.png").write_bytes(photograph())
    pip = ["install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    convscope = [str(python), "-m", "convscope"]
    commands: list[list[str]] = [
        [*convscope, "new", "edge-maps"],
        [sys.executable, "-m", "pip", "--python", str(python), *pip, "-e", "convscope-edge-maps"],
        [*convscope, "check", "edge_maps.sensitivity"],
        [*convscope, "run", "edge_maps.sensitivity", "--image", "cat.png", "--out", "first"],
    ]
    before, began = _used(), time.perf_counter()
    for command in commands:
        _call(command, cwd=folder, variables=variables)
    used, wall = _used() - before, time.perf_counter() - began
    assert (folder / "first" / "sensitivity.png").is_file()
    return len(commands), used, wall


def _used() -> float:
    """Processor seconds of all ended child processes so far."""
    times = os.times()
    return times.children_user + times.children_system


def _listings(folder: Path, rounds: int) -> tuple[float, list[float], float]:
    """Processor seconds of the first listing after the installation of all plugins, and of later ones; their wall."""
    site = folder / "many"
    for number in range(PLUGINS):
        name = f"convscope_bench_{number}"
        info = site / f"{name}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[convscope.v1]\nwords = {name}:words\n")
        (site / f"{name}.py").write_text(_PLUGIN.format(number=number))
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    variables = {**os.environ, "PYTHONPATH": path, "XDG_CACHE_HOME": str(folder / "cache")}
    times, walls = [], []
    for _ in range(rounds + 1):
        before, began = _used(), time.perf_counter()
        said = _call([sys.executable, "-m", "convscope", "techniques"], variables=variables)
        times.append(_used() - before)
        walls.append(time.perf_counter() - began)
        assert said.count(".words\t") == PLUGINS
    return times[0], times[1:], median(walls[1:])


def _environment(folder: Path) -> tuple[Path, dict[str, str]]:
    """An environment that sees what this one has, so that nothing is downloaded."""
    venv.create(folder, with_pip=False, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    outside = [path for path in sys.path if Path(path).is_dir() and not Path(path).is_relative_to(sys.base_prefix)]
    (site / "_outside.pth").write_text("\n".join(outside) + "\n")
    variables = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
    return folder / "bin" / "python", variables


def _call(command: Sequence[str], *, cwd: Path | None = None, variables: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=variables)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout
