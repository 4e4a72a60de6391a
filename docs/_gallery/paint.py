"""Runs everything that the plan asks for, and keeps pictures and reports where the pages find them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

import convscope
from _gallery.photographs import photograph
from _gallery.plan import Entry, Shot

if TYPE_CHECKING:
    from convscope.client import Client

__all__ = ["paint"]

_MAX_EDGE = 1024  # of a picture on a page
_FILM_EDGE = 288
_FILM_FRAMES = 36


def paint(entries: Collection[Entry], folder: Path) -> Iterator[str]:
    """Replace each entry's pictures and its runs.json under `folder`; yields a line about each run."""
    with convscope.embedded() as client:
        for entry in entries:
            home = folder / entry.technique
            shutil.rmtree(home, ignore_errors=True)
            home.mkdir(parents=True)
            runs = []
            for number, shot in enumerate(entry.runs, 1):
                runs.append(_painted(client, entry.technique, shot, home, number))
                yield f"{entry.technique} {number} of {len(entry.runs)}"
            text = json.dumps(runs, indent=1, ensure_ascii=False)
            (home / "runs.json").write_text(text + "\n", encoding="utf-8")


def _painted(client: Client, technique: str, shot: Shot, home: Path, number: int) -> dict[str, Any]:
    run = client.visualize(
        technique,
        image=photograph(shot.image) if shot.image else None,
        extra_images={role: photograph(name) for role, name in shot.extra.items()},
        model=shot.model,
        previews={"min_interval": 0.0} if shot.film else False,
        **shot.params,
    )
    result = run.result()
    shown = shot.show or [name for name in result.images if name != "input"]
    pictures = []
    captions = {artifact.name: artifact.caption for artifact in result.artifacts if artifact.kind == "image"}
    for name in shown:
        path = home / f"{number}-{name}.webp"
        picture = result.images[name].convert("RGB")
        picture.thumbnail((_MAX_EDGE, _MAX_EDGE), Image.Resampling.LANCZOS)
        picture.save(path, quality=86, method=6)
        pictures.append({"file": path.name, "name": name, "caption": captions[name], "width": picture.width})
    if shot.film and result.previews:
        film = result.animation(home / f"{number}-film.webp", max_edge=_FILM_EDGE, max_frames=_FILM_FRAMES)
        pictures.append({"file": film.name, "name": "film", "caption": "step by step", "width": _FILM_EDGE})
    report = result.report
    return {
        "command": shot.command(technique),
        "caption": shot.caption,
        "pictures": pictures,
        "scores": {name: float(f"{value:.4g}") for name, value in report.scores.items()},
        "notes": list(report.notes),
        "predictions": [[item.label, round(item.probability, 3)] for item in report.predictions[:3]],
    }
