"""A technique that looks at an image set, for tests."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from convscope_sdk import Event, Params, Run, Table, technique

__all__ = ["look_around"]


class LookAroundParams(Params):
    """At what."""

    image_set: str = Field("samples", description="Which image set.")


@technique("tests.look_around", needs={"image_set"})
def look_around(run: Run[LookAroundParams]) -> Iterator[Event]:
    """Every picture with its label and mean feature."""
    index = yield from run.image_set(run.params.image_set).index()
    means = index.features("penultimate").mean(1)
    rows = zip(index.names, index.labels(), means.tolist(), strict=True)
    yield Table("pictures", [{"name": name, "label": label, "mean": mean} for name, label, mean in rows])
