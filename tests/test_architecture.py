"""The arrows of docs/explanation/architecture.md, walked in the sources and in fresh processes."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator

import pytest

from support.sources import ROOT, STUBS, Import, Source, sources, within

SOURCES = sources()
MODULES = {source.name for source in SOURCES}
OURS = ("convscope", "convscope_sdk", "convscope_techniques", "convscope_server")

# What each package may import of the others; `convscope.v1` is a package of its own here.
ARROWS = {
    "convscope": {"convscope", STUBS},
    "convscope_sdk": {"convscope_sdk"},
    "convscope_techniques": {"convscope_techniques", "convscope_sdk"},
    "convscope_server": {"convscope_server", "convscope_sdk", STUBS},
}
# Where the client may reach for server code or the SDK, within a function that needs them.
LAZY_SERVER = (
    "convscope._embedded",
    "convscope.cli.admin",
    "convscope.cli.check",
    "convscope.cli.demo",
    "convscope.cli.new",
    "convscope.cli.serve",
    "convscope.cli.token",
)
LAZY = {"convscope_server", "convscope_sdk"}
# Who may know protobuf types.
WIRE = (
    "convscope._content",
    "convscope._embedded",
    "convscope._methods",
    "convscope._transport",
    "convscope._wire",
    "convscope._wire_catalog",
    "convscope._wire_values",
    "convscope_server.api",
)
PROTOBUF = ("google.protobuf", "google.rpc", "grpc_health", "grpc_reflection", STUBS)
# The front end: it starts in a second, and no plugin can crash it.
FRONT_END = ("access", "api", "runs", "engine", "images", "observers", "storage", "config", "app")
HEAVY = ("torch", "torchvision", "timm")

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
MAX_IMPORT_SECONDS = 0.4


def _package(name: str) -> str | None:
    if within(name, STUBS):
        return STUBS
    return next((package for package in OURS if within(name, package)), None)


def _imported(found: Import) -> set[str]:
    """Our packages and modules that an import brings in: `from a import b` may mean the module a.b."""
    return {found.module, *(f"{found.module}.{name}" for name in found.names)}


def _packages_of(found: Import) -> set[str]:
    packages = {_package(name) for name in _imported(found)} - {None}
    if STUBS in packages and found.module == "convscope":  # from convscope import v1
        packages.discard("convscope")
    return {package for package in packages if package is not None}


def _place(source: Source, found: Import) -> str:
    return f"{source.path.relative_to(ROOT)}:{found.line} imports {found.module}"


def test_the_walker_tells_when_an_import_happens() -> None:
    text = (
        "from typing import TYPE_CHECKING\nimport convscope_sdk.run\nfrom . import near\n"
        "if TYPE_CHECKING:\n    import torch\n"
        "def later():\n    from convscope_server import app\n    importlib.import_module('timm')\n"
    )
    found = Source("convscope.cli.x", ROOT / "x.py", text, ast.parse(text)).imports()
    assert [(i.module, i.when) for i in found] == [
        ("typing", "import"),
        ("convscope_sdk.run", "import"),
        ("convscope.cli", "import"),
        ("torch", "typing"),
        ("convscope_server", "call"),
        ("timm", "call"),
    ]


def test_imports_between_packages_follow_the_arrows() -> None:
    wrong = [
        _place(source, found)
        for source in SOURCES
        for found in source.imports()
        for package in _packages_of(found)
        if package not in ARROWS[source.name.split(".")[0]]
        and not (package in LAZY and found.when != "import" and _in(source.name, LAZY_SERVER))
    ]
    assert not wrong


def test_every_package_of_the_design_is_there() -> None:
    assert {source.name.split(".")[0] for source in SOURCES} == set(OURS)
    assert all(name in MODULES for name in WIRE)


def test_only_the_wire_modules_know_protobuf_types() -> None:
    wrong = [
        _place(source, found)
        for source in SOURCES
        for found in source.imports()
        if any(_in(name, PROTOBUF) for name in _imported(found)) and not _in(source.name, WIRE)
    ]
    assert not wrong


def test_torch_stays_with_the_worker_the_models_and_the_plugins() -> None:
    wrong = [
        _place(source, found)
        for source in SOURCES
        if _in(source.name, ["convscope", *(f"convscope_server.{part}" for part in FRONT_END)])
        for found in source.imports()
        if _in(found.module, HEAVY)
    ]
    assert not wrong


def test_modules_do_not_import_each_other_in_a_circle() -> None:
    graph = {source.name: set(_modules_imported_with(source)) - {source.name} for source in SOURCES}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_a_module_is_small_and_says_what_it_is(source: Source) -> None:
    lines = source.text.count("\n")
    long = {f.name: f.end_lineno - f.lineno + 1 for f in source.functions() if f.end_lineno is not None}
    assert lines <= MAX_FILE_LINES
    assert {name: length for name, length in long.items() if length > MAX_FUNCTION_LINES} == {}
    if source.is_public:
        assert ast.get_docstring(source.tree), f"{source.path.relative_to(ROOT)} has no docstring"


def test_the_front_end_never_loads_torch() -> None:
    names = [source.name for source in SOURCES if _in(source.name, [f"convscope_server.{part}" for part in FRONT_END])]
    assert len(names) > len(FRONT_END)
    assert _loaded_by(names, HEAVY) == []


def test_the_sdk_and_the_techniques_hooks_load_no_server() -> None:
    assert _loaded_by(["convscope_sdk", "convscope_sdk.hookspecs"], [*HEAVY, "convscope_server", "grpc"]) == []
    assert _loaded_by(["convscope_techniques"], ["convscope_server", "grpc"]) == []


def test_the_client_loads_neither_torch_nor_server_nor_terminal_code() -> None:
    assert _loaded_by(["convscope"], [*HEAVY, "convscope_server", "convscope_sdk", "rich", "typer", "pydantic"]) == []


def test_the_client_imports_at_once() -> None:
    # Processor time: what other processes take of this machine meanwhile is not the client's.
    code = "import time; t = time.process_time(); import convscope; print(time.process_time() - t)"
    best = min(float(_python(code)) for _ in range(5))
    assert best < MAX_IMPORT_SECONDS


def _in(name: str, packages: list[str] | tuple[str, ...]) -> bool:
    return any(within(name, package) for package in packages)


def _modules_imported_with(source: Source) -> Iterator[str]:
    """Modules of ours that run when this one is imported; `from a import b` is a.b where that is a module."""
    for found in source.imports():
        if found.when != "import":
            continue
        below = {f"{found.module}.{name}" for name in found.names} & MODULES
        yield from below
        if len(below) < max(len(found.names), 1) and found.module in MODULES:
            yield found.module


def _loaded_by(modules: list[str], unwanted: list[str] | tuple[str, ...]) -> list[str]:
    code = (
        f"import importlib, sys; [importlib.import_module(name) for name in {modules!r}]; "
        f"print(*(name for name in {list(unwanted)!r} if name in sys.modules))"
    )
    return _python(code).split()


def _python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout
