"""Plugins as files, for tests that load them through every door."""

from __future__ import annotations

from pathlib import Path

__all__ = ["BRIGHTNESS", "brightness_file", "installed"]

BRIGHTNESS = '''"""A technique that is quick and depends on its parameters, its seed and the picture."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from pydantic import Field

from convscope_sdk import Event, Heatmap, ImageParams, Progress, Run, Scores, technique


class BrightnessParams(ImageParams):
    """Parameters of `acme.brightness`."""

    noise: float = Field(0.1, ge=0, le=1, description="How much noise is added.")


@technique("acme.brightness", needs={"image"}, cites="nobody")
def brightness(run: Run[BrightnessParams]) -> Iterator[Event]:
    """How bright each pixel is, with a little noise."""
    values = run.image.mean(1)[0]
    yield Progress(1, 1)
    values = values + run.params.noise * torch.rand_like(values)
    yield Heatmap("brightness", values)
    yield Scores({"mean": float(values.mean())})
'''


def brightness_file(folder: Path, text: str = BRIGHTNESS) -> Path:
    """The technique as a loose file."""
    path = folder / "acme_brightness.py"
    path.write_text(text, encoding="utf-8")
    return path


def installed(
    folder: Path,
    *,
    name: str = "acme-brightness",
    version: str = "1.2",
    entry_points: str = "[convscope.v1]\nbrightness = acme_brightness:brightness\n",
) -> Path:
    """A folder that, on `sys.path`, is an installed distribution with these entry points."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(entry_points, encoding="utf-8")
    return folder
