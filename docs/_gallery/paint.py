"""Runs everything that the plan asks for, and keeps pictures and reports where the pages find them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from PIL import Image

import convscope
from _gallery.photographs import photograph
from _gallery.plan import Entry, Shot

if TYPE_CHECKING:
    from convscope.client import Client

__all__ = ["paint"]

_MAX_EDGE = 1024  # of a picture on a page
_GIVEN_EDGE = 224  # of a picture that goes in, beside the one that is looked at
_FILM_EDGE = 288
_FILM_FRAMES = 36


def paint(entries: Collection[Entry], folder: Path) -> Iterator[str]:
    """Replace each entry's pictures and its runs.json under `folder`; yields a line about each run."""
    with TemporaryDirectory() as trained, convscope.embedded(models_dir=trained) as client:
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
    pictures = _given(shot, home, number)
    shown = shot.show or [name for name in result.images if name != "input"]
    captions = {artifact.name: artifact.caption for artifact in result.artifacts if artifact.kind == "image"}
    for name in shown:
        path = home / f"{number}-{name}.webp"
        picture = result.images[name].convert("RGB")
        pictures.append(_kept(picture, path, name, captions[name], _MAX_EDGE))
    if shot.film and result.previews:
        film = result.animation(home / f"{number}-film.webp", max_edge=_FILM_EDGE, max_frames=_FILM_FRAMES)
        with Image.open(film) as frames:
            width = frames.width
        pictures.append({"file": film.name, "name": "film", "caption": "step by step", "width": width})
    report = result.report
    return {
        "command": shot.command(technique),
        "caption": shot.caption,
        "pictures": pictures,
        "scores": {name: float(f"{value:.4g}") for name, value in report.scores.items()},
        "notes": list(report.notes),
        "predictions": [[item.label, round(item.probability, 3)] for item in report.predictions[:3]],
    }


def _given(shot: Shot, home: Path, number: int) -> list[dict[str, Any]]:
    """The further pictures that the run is given, by role."""
    return [
        _kept(photograph(name), home / f"{number}-{role}.webp", role, f"{role}: {name}", _GIVEN_EDGE)
        for role, name in shot.extra.items()
    ]


def _kept(picture: Image.Image, path: Path, name: str, caption: str, edge: int) -> dict[str, Any]:
    picture.thumbnail((edge, edge), Image.Resampling.LANCZOS)
    picture.save(path, quality=86, method=6)
    return {"file": path.name, "name": name, "caption": caption, "width": picture.width}
