"""What a benchmark found out: numbers, each with the bound that was promised."""

from __future__ import annotations

import json
import math
import platform
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

__all__ = ["Measure", "Result", "median", "percentile", "table", "write"]

FOLDER = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True)
class Measure:
    """One number and its bound.

    Attributes:
        name: What was measured against what.
        value: In `unit`.
        bound: What it has to be at most; at least where `at_least`.
        unit: "x" for a ratio, "s", "ms", "MB", or "" for a count.
    """

    name: str
    value: float
    bound: float
    unit: str = "x"
    at_least: bool = False

    @property
    def passed(self) -> bool:
        """Whether the bound holds. Nothing that could not be measured holds it."""
        return self.value >= self.bound if self.at_least else self.value <= self.bound


@dataclass(frozen=True, slots=True)
class Result:
    """What one benchmark found out. `details` are the numbers behind the measures, seconds unless named otherwise."""

    name: str
    measures: tuple[Measure, ...]
    details: Mapping[str, float] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether every bound holds."""
        return all(measure.passed for measure in self.measures)


def percentile(values: Iterable[float], percent: float) -> float:
    """The smallest of the values that `percent` of them do not exceed (nearest rank); NaN where there are none."""
    ordered = sorted(values)
    return ordered[max(math.ceil(percent / 100 * len(ordered)), 1) - 1] if ordered else math.nan


def median(values: Sequence[float]) -> float:
    """The median; NaN where there are none."""
    return statistics.median(values) if values else math.nan


def table(results: Iterable[Result]) -> str:
    """The measures for a person."""
    rows = [
        (
            result.name,
            measure.name,
            f"{measure.value:.3g} {measure.unit}".strip(),
            f"{'≥' if measure.at_least else '≤'} {measure.bound:.3g} {measure.unit}".strip(),
            "yes" if measure.passed else "NO",
        )
        for result in results
        for measure in result.measures
    ]
    rows.insert(0, ("benchmark", "measure", "found", "promised", "kept"))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def write(results: Sequence[Result]) -> Path:
    """Keep the results as JSON in `benchmarks/results`, with the machine that they are from; gives the file."""
    FOLDER.mkdir(exist_ok=True)
    now = datetime.now(UTC)
    machine = {"python": platform.python_version(), "machine": platform.platform(), "processor": platform.machine()}
    found = [{**asdict(r), "passed": r.passed} for r in results]
    path = FOLDER / f"{now:%Y%m%dT%H%M%SZ}.json"
    path.write_text(json.dumps({"time": now.isoformat(), **machine, "results": found}, indent=2) + "\n")
    return path
