"""The project's own source files, read as syntax trees."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "convscope": ROOT / "clients/python/convscope",
    "convscope_sdk": ROOT / "plugins/convscope_sdk",
    "convscope_techniques": ROOT / "plugins/convscope_techniques",
    "convscope_server": ROOT / "server/convscope_server",
}
STUBS = "convscope.v1"

When = Literal["import", "call", "typing"]


@dataclass(frozen=True, slots=True)
class Import:
    """One imported module: `when` it happens is at import, in a function's call, or for type checkers only."""

    module: str
    names: tuple[str, ...]
    line: int
    when: When


@dataclass(frozen=True, slots=True)
class Source:
    """One module of the project."""

    name: str
    path: Path
    text: str = field(repr=False)
    tree: ast.Module = field(repr=False)

    @property
    def is_package(self) -> bool:
        return self.path.name == "__init__.py"

    @property
    def is_public(self) -> bool:
        return not any(part.startswith("_") for part in self.name.split("."))

    def imports(self) -> Iterator[Import]:
        """What it imports, `importlib.import_module("…")` included; `from . import x` counts as its package."""
        yield from self._imports(self.tree.body, "import")

    def functions(self) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node

    def _imports(self, nodes: Iterable[ast.AST], when: When) -> Iterator[Import]:
        for node in nodes:
            if isinstance(node, ast.Import):
                yield from (Import(alias.name, (), node.lineno, when) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield Import(self._absolute(node), tuple(a.name for a in node.names), node.lineno, when)
            elif isinstance(node, ast.Call) and _is_import_module(node):
                yield Import(ast.literal_eval(node.args[0]), (), node.lineno, when)
            elif isinstance(node, ast.If) and _is_type_checking(node.test):
                yield from self._imports(node.body, "typing")
                yield from self._imports(node.orelse, when)
            else:
                inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
                yield from self._imports(ast.iter_child_nodes(node), "call" if inside else when)

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        package = self.name.split(".") if self.is_package else self.name.split(".")[:-1]
        base = package[: len(package) - node.level + 1]
        return ".".join([*base, *([node.module] if node.module else [])])


def sources(*, stubs: bool = False) -> list[Source]:
    """Every module of the four packages; the generated stubs only where asked for."""
    found = []
    for package, folder in PACKAGES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            name = ".".join([package, *(p for p in parts if p != "__init__")])
            if not stubs and within(name, STUBS):
                continue
            text = path.read_text(encoding="utf-8")
            found.append(Source(name, path, text, ast.parse(text, str(path))))
    return found


def within(name: str, package: str) -> bool:
    """Whether a dotted name is the package or in it."""
    return name == package or name.startswith(f"{package}.")


def _is_type_checking(test: ast.expr) -> bool:
    return "TYPE_CHECKING" in {getattr(test, "id", ""), getattr(test, "attr", "")}


def _is_import_module(call: ast.Call) -> bool:
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    return name in {"import_module", "__import__"} and bool(call.args) and isinstance(call.args[0], ast.Constant)
