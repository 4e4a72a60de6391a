"""Loads plugins one at a time, so that a broken one is listed with its reason while all others work.

`pluggy.load_setuptools_entrypoints` stops at the first error, so it is not used: every plugin gets a
`PluginManager` of its own, and contributes all it offers or nothing.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import inspect
import logging
import os
import re
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from convscope_sdk.choice import PluginChoice
from convscope_sdk.contract import DEPRECATIONS, Deprecation, warnings_of
from convscope_sdk.encoding import ArtifactEncoder
from convscope_sdk.hookspecs import ENTRY_POINT_GROUP
from convscope_sdk.image_sets.spec import ImageSetSource
from convscope_sdk.models import Architecture, ModelSource
from convscope_sdk.offer import BUILTIN_PACKAGE, Offer, PluginError, PluginReport, clash, is_replaced, owner_of
from convscope_sdk.offered import LONGEST_REASON, offered
from convscope_sdk.revision import revision_of
from convscope_sdk.technique import Technique

__all__ = ["BUILTIN_PACKAGE", "Loaded", "LoadedEncoder", "Loader", "Observer", "PluginError", "PluginReport", "Plugins"]

_VERSIONED_GROUP = re.compile(r"convscope\.(v\d+)")
_log = logging.getLogger("convscope.plugins")


class EntryPointLike(Protocol):
    """What the loader asks of an entry point; `importlib.metadata.EntryPoint` has it."""

    @property
    def name(self) -> str: ...
    @property
    def group(self) -> str: ...
    @property
    def value(self) -> str: ...
    @property
    def dist(self) -> Any: ...
    def load(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class Loaded:
    """A technique that can be asked for, the distribution and version that brought it, and its plugin's name.

    `revision` is another one once its code is another; empty where it was given as an object.
    """

    technique: Technique[Any]
    package: str
    version: str
    plugin: str
    revision: str = ""


@dataclass(frozen=True, slots=True)
class Observer:
    """The hooks of a plugin that observes runs, and who brought it."""

    hooks: Any
    plugin: str
    package: str
    version: str


@dataclass(frozen=True, slots=True)
class LoadedEncoder:
    """An encoder that can be asked for, and the distribution and version that brought it."""

    encoder: ArtifactEncoder
    package: str
    version: str


@dataclass(frozen=True, slots=True)
class Plugins:
    """All that was loaded: by id or media type, sources in order, and a report for each plugin."""

    techniques: dict[str, Loaded] = field(default_factory=dict)
    architectures: dict[str, Architecture] = field(default_factory=dict)
    sources: list[ModelSource] = field(default_factory=list)
    image_set_sources: list[ImageSetSource] = field(default_factory=list)
    observers: list[Observer] = field(default_factory=list)
    encoders: dict[str, LoadedEncoder] = field(default_factory=dict)
    reports: list[PluginReport] = field(default_factory=list)


class Loader:
    """Collects plugins; `plugins` is what can be used of them so far.

    Args:
        strict: Raise `PluginError` at the first plugin that cannot be used, instead of reporting it.
        deprecations: What plugins are warned of, once, when they are loaded.
        choice: Which installed plugins may be loaded; files and objects that are named one by one always are.
    """

    def __init__(
        self,
        *,
        strict: bool = False,
        deprecations: Iterable[Deprecation] = DEPRECATIONS,
        choice: PluginChoice | None = None,
    ) -> None:
        self._strict = strict
        self._choice = choice or PluginChoice()
        self._deprecations = tuple(deprecations)
        self._offers: list[Offer] = []

    def load_entry_points(
        self, group: str = ENTRY_POINT_GROUP, entry_points: Iterable[EntryPointLike] | None = None
    ) -> None:
        """Load every installed plugin: each entry point names a `Technique`, or a module or object with hooks.

        Args:
            group: Entry points of other versions of this group are reported, not loaded.
            entry_points: What to look through; everything installed where absent.
        """
        for entry_point in sorted(_installed() if entry_points is None else entry_points, key=_place):
            package, version = _distribution(entry_point)
            if self._may_not(entry_point.name, package, version):
                continue
            if entry_point.group == group:
                module = entry_point.value.partition(":")[0]
                get = _importing(module, entry_point.load)
                self._load(entry_point.name, package, version, get, module=module)
            elif match := _VERSIONED_GROUP.fullmatch(entry_point.group):
                ours = group.rpartition(".")[2]
                problem = PluginError(f"needs contract {match[1]}; this server speaks {ours}")
                self._fail(entry_point.name, package, version, problem)

    def _may_not(self, name: str, package: str, version: str) -> bool:
        """Whether the plugin is left alone; then nothing of it is imported."""
        if self._choice.passes_over(name, package):
            return True
        refusal = "" if package == BUILTIN_PACKAGE else self._choice.refusal(name, package)
        if refusal:
            self._offers.append(Offer(PluginReport(name, package, version, ok=False, reason=refusal, denied=True)))
        return bool(refusal)

    def load_file(self, path: str | os.PathLike[str]) -> None:
        """Load one .py file: every technique defined in it at module level, and its hooks."""
        file = Path(path)
        name = f"convscope_file_{hashlib.sha256(str(file.absolute()).encode()).hexdigest()[:12]}"
        succeeded = self._load(
            str(path), "", "", _importing(name, lambda: _execute(name, file)), _defined_in, module=name, given=True
        )
        if not succeeded:
            sys.modules.pop(name, None)

    def load_object(self, name: str, obj: object, package: str = "", version: str = "") -> None:
        """Load a `Technique`, or a module or object with hooks, that is at hand already."""
        self._load(name, package, version, lambda: obj, given=not package)

    @property
    def plugins(self) -> Plugins:
        """What can be used.

        An id that several claim is a built-in's, else that of the one given as a file or an object, else nobody's.

        Raises:
            PluginError: the loader is strict and an id is claimed twice.
        """
        claims = defaultdict(list)
        for offer in self._offers:
            for technique in offer.techniques:
                claims[technique.id].append(offer)
        owners = {identifier: owner_of(offers) for identifier, offers in claims.items()}
        found = Plugins()
        for offer in self._offers:
            won = [t for t in offer.techniques if owners[t.id] is offer]
            report = offer.report
            if lost := [t.id for t in offer.techniques if owners[t.id] is not offer]:
                reason = "; ".join(clash(identifier, offer, claims[identifier]) for identifier in lost)
                if self._strict and not all(is_replaced(claims[identifier]) for identifier in lost):
                    raise PluginError(f"plugin {report.name!r}: {reason}")
                report = replace(report, ok=bool(won or offer.sources or offer.image_set_sources), reason=reason)
            for technique in won:
                found.techniques[technique.id] = Loaded(
                    technique, report.package, report.version, report.name, offer.revision
                )
            found.sources.extend(offer.sources)
            found.image_set_sources.extend(offer.image_set_sources)
            if offer.observer is not None:
                found.observers.append(Observer(offer.observer, report.name, report.package, report.version))
            for architecture in offer.architectures:
                self._add_architecture(found, architecture, report)
            for encoder in offer.encoders:
                self._add_encoder(found, LoadedEncoder(encoder, report.package, report.version), report)
            found.reports.append(replace(report, techniques=tuple(t.id for t in won)))
        return found

    def _add_architecture(self, found: Plugins, architecture: Architecture, report: PluginReport) -> None:
        """Built-in ids have no dot and others must have one, so nobody can take a built-in's."""
        if found.architectures.setdefault(architecture.id, architecture) is not architecture:
            _log.warning("plugin %r: architecture %r is another plugin's; rename it", report.name, architecture.id)

    def _add_encoder(self, found: Plugins, loaded: LoadedEncoder, report: PluginReport) -> None:
        if found.encoders.setdefault(loaded.encoder.media_type, loaded) is not loaded:
            _log.warning("plugin %r: another plugin encodes %s", report.name, loaded.encoder.media_type)

    def _load(
        self,
        name: str,
        package: str,
        version: str,
        get: Callable[[], object],
        also: Callable[[object], Sequence[Technique[Any]]] = lambda _: (),
        *,
        module: str = "",
        given: bool = False,
    ) -> bool:
        started = time.perf_counter()
        seconds = 0.0
        try:
            plugin = get()
            seconds = time.perf_counter() - started
            offer = offered(name, plugin, also(plugin), builtin=package == BUILTIN_PACKAGE)
            revision = revision_of(module) if module else ""
        # The plugin's bug: whatever its module, hooks or parameters raise; some modules even exit.
        except (Exception, SystemExit) as error:  # noqa: BLE001 - see above
            self._fail(name, package, version, error, seconds or time.perf_counter() - started)
            return False
        warnings = warnings_of(offer.techniques, self._deprecations)
        for warning in warnings:
            _log.warning("plugin %r of %s: %s", name, package or "a file", warning)
        report = PluginReport(name, package, version, ok=True, import_seconds=seconds, warnings=warnings)
        self._offers.append(replace(offer, report=report, given=given, revision=revision))
        return True

    def _fail(self, name: str, package: str, version: str, error: BaseException, seconds: float = 0.0) -> None:
        reason = _reason(error)
        if self._strict:
            raise PluginError(f"plugin {name!r}: {reason}") from error
        _log.warning("plugin %r of %s is not loaded: %s", name, package or "a file", reason, exc_info=error)
        self._offers.append(Offer(PluginReport(name, package, version, False, reason, (), seconds)))


def _installed() -> list[EntryPointLike]:
    found = importlib.metadata.entry_points()
    groups = [group for group in found.groups if _VERSIONED_GROUP.fullmatch(group)]
    return [entry_point for group in groups for entry_point in found.select(group=group)]


def _place(entry_point: EntryPointLike) -> tuple[str, str, str]:
    return entry_point.group, _distribution(entry_point)[0], entry_point.name


def _distribution(entry_point: EntryPointLike) -> tuple[str, str]:
    """Name and version; empty where the distribution has none, or metadata that cannot be read."""
    try:
        return entry_point.dist.name or "", entry_point.dist.version or ""
    except Exception:  # noqa: BLE001 - a broken installation's fault, and no reason to lose its plugin
        return "", ""


def _importing(module: str, get: Callable[[], object]) -> Callable[[], object]:
    """`get`, and if it raises, none of the modules of the plugin's own package that it left half imported."""

    def get_whole() -> object:
        with _all_or_nothing(module):
            return get()

    return get_whole


@contextmanager
def _all_or_nothing(module: str) -> Iterator[None]:
    root = module.partition(".")[0]
    before = set(sys.modules)
    try:
        yield
    except BaseException:
        # Only the plugin's own: libraries that it brought in work, and many cannot be imported twice.
        for name in set(sys.modules) - before:
            if name.partition(".")[0] == root:
                del sys.modules[name]
        raise


def _execute(name: str, file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise PluginError(f"{str(file)!r} is no Python file; its name should end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # pydantic and dataclasses look annotations up there
    spec.loader.exec_module(module)
    return module


def _defined_in(module: object) -> list[Technique[Any]]:
    """The module's own techniques; one that it imported from elsewhere is not its to offer."""
    own = inspect.getmodule
    return [t for t in vars(module).values() if isinstance(t, Technique) and own(t.function) is module]


def _reason(error: BaseException) -> str:
    if isinstance(error, PluginError):
        return str(error)
    if isinstance(error, SystemExit):
        return f"it ended the process (sys.exit({error.code!r})) while it was loaded; remove that call"
    advice = "; install what it needs beside the server" if isinstance(error, ImportError) else ""
    return " ".join(f"{type(error).__name__}: {error}".split())[:LONGEST_REASON] + advice
