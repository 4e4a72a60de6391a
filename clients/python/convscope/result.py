"""What a run made."""

from __future__ import annotations

import json
import mimetypes
import os
import re
import webbrowser
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from convscope._animation import MAX_FRAMES, write_animation
from convscope.errors import FailedPrecondition, NotFound
from convscope.events import (
    Artifact,
    ArtifactKind,
    Frame,
    Report,
    decode_array,
    decode_image,
    decode_table,
    is_readable,
)

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

__all__ = ["Result"]

T = TypeVar("T")

_SUFFIXES: dict[ArtifactKind, str] = {"image": ".png", "tensor": ".npy", "table": ".json", "text": ".txt"}
_PAGE = "text/html"
_PLAIN = {"image/png", "application/x-npy", "application/json", "text/plain"}
_UNSAFE = re.compile(r"[^\w.-]+")


class Result:
    """The pictures, arrays, tables and texts of a run, and its report.

    Results of more than 1 MiB stay on the server until something of their kind is looked at; each is checked
    against its digest.

    Attributes:
        run_id: The run.
        report: Did it work, and what exactly was done.
        artifacts: Every result as it came, encoded, in the order in which it was made.
        previews: Frames that were seen on the way, at most 240, evenly spread.
    """

    def __init__(
        self,
        run_id: str,
        report: Report,
        artifacts: Sequence[Artifact],
        previews: Sequence[Frame],
        fetch: Callable[[str], bytes],
    ) -> None:
        self.run_id = run_id
        self.report = report
        self.artifacts = tuple(artifacts)
        self.previews = tuple(previews)
        self._fetch = fetch
        self._fetched: dict[str, bytes] = {}
        self._by_name: dict[ArtifactKind, dict[str, Any]] = {}

    @property
    def images(self) -> dict[str, Image.Image]:
        """Pictures by name: what they show. `images["input"]` is what the network saw, pixel for pixel.

        What was asked for in a format that Pillow does not read is in `artifacts` alone, and saved as it came; so it is
        with arrays other than .npy, and so on.
        """
        return self._decoded("image", decode_image)

    @property
    def tensors(self) -> dict[str, np.ndarray[Any, Any]]:
        """Arrays by name, exact; maps are in input coordinates."""
        return self._decoded("tensor", decode_array)

    @property
    def tables(self) -> dict[str, list[dict[str, Any]]]:
        """Tables by name: a list of rows."""
        return self._decoded("table", decode_table)

    @property
    def texts(self) -> dict[str, str]:
        """Texts by name."""
        return self._decoded("text", bytes.decode)

    @property
    def image(self) -> Image.Image:
        """The one to look at first: the overlay where there is one, else the first picture but the input.

        Raises:
            NotFound: the run made no picture.
        """
        names = [artifact.name for artifact in self._read("image")]
        shown = [name for name in names if name != "input"]
        if not shown:
            raise NotFound(f"run {self.run_id} made no picture; look at .tensors, .tables and .texts")
        return self.images["overlay" if "overlay" in shown else shown[0]]

    def content(self, artifact: Artifact) -> bytes:
        """The encoded file of one of `artifacts`.

        Raises:
            ConvscopeError: it is on the server, and cannot be fetched.
        """
        if artifact.content is not None:
            return artifact.content
        if artifact.digest not in self._fetched:
            self._fetched[artifact.digest] = self._fetch(artifact.digest)
        return self._fetched[artifact.digest]

    def save(self, directory: str | os.PathLike[str]) -> list[Path]:
        """Write everything: pictures as PNG, arrays as .npy, tables and the report as JSON, texts as .txt.

        Texts that are pages are .html; what was asked for in another format keeps it. The directory is made where it is
        missing. The report is `report.json`, with the captions of the pictures.

        Returns:
            The paths written, the report last.
        """
        folder = Path(directory)
        folder.mkdir(parents=True, exist_ok=True)
        paths: dict[Path, Artifact] = {}
        for artifact in self.artifacts:
            path = _free_path(folder, artifact, {*paths, folder / "report.json"})
            path.write_bytes(self.content(artifact))
            paths[path] = artifact
        report = folder / "report.json"
        report.write_text(json.dumps(self._describe(paths), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        return [*paths, report]

    def dataframe(self, name: str | None = None) -> Any:
        """A table as a pandas DataFrame.

        Args:
            name: Of the table; the first one where absent.

        Raises:
            NotFound: the run made no table, or none of that name.
            FailedPrecondition: pandas is not installed.
        """
        chosen = name if name is not None else next(iter(self.tables), None)
        if chosen is None or chosen not in self.tables:
            raise NotFound(f"run {self.run_id} made no table{f' {name!r}' if name else ''}; it made {self!r}")
        try:
            import pandas as pd
        except ImportError as error:
            raise FailedPrecondition("a DataFrame needs pandas: pip install pandas; .tables has plain rows") from error
        return pd.DataFrame(self.tables[chosen])

    def html(self, path: str | os.PathLike[str], *, name: str | None = None, show: bool = False) -> Path:
        """Write a page that the run made, such as an embedding to pan and zoom in: one file, complete in itself.

        Args:
            path: Where to; folders are made where they are missing.
            name: Of the page; the only one where absent.
            show: Also open it in the browser.

        Raises:
            NotFound: the run made no page, or none of that name.
        """
        pages = {artifact.name: artifact for artifact in self._all("text") if artifact.media_type == _PAGE}
        chosen = pages.get(name) if name is not None else next(iter(pages.values()), None)
        if chosen is None:
            raise NotFound(f"run {self.run_id} made no page{f' {name!r}' if name else ''}; it made {self!r}")
        file = Path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(self.content(chosen))
        if show:
            webbrowser.open(file.resolve().as_uri())
        return file

    def animation(
        self,
        path: str | os.PathLike[str],
        *,
        fps: float = 12.0,
        final: str | None = None,
        max_edge: int = 640,
        max_frames: int = MAX_FRAMES,
    ) -> Path:
        """Write the previews and, held for a second, the finished picture as an animation.

        Args:
            path: Ends in .webp, .gif or .png.
            fps: Frames a second.
            final: Name of the finished picture; the one to look at first where absent.
            max_edge: Longest edge in pixels.
            max_frames: So many previews are shown at most, evenly spread.

        Raises:
            FailedPrecondition: no previews were seen: the run makes none, or was asked for none.
            InvalidArgument: the format is none of these.
        """
        if not self.previews:
            raise FailedPrecondition(
                f"run {self.run_id} has no previews to animate: none are made, or none were asked for"
            )
        last = self.images[final] if final is not None else self.image
        frames = [frame.image for frame in self.previews]
        return write_animation(Path(path), frames, last, fps=fps, max_edge=max_edge, max_frames=max_frames)

    def _decoded(self, kind: ArtifactKind, decode: Callable[[bytes], T]) -> dict[str, T]:
        # No cached_property: before Python 3.12 its lock is one for all results, and one that comes down a bad
        # network would hold up the others.
        if kind not in self._by_name:
            self._by_name[kind] = {artifact.name: decode(self.content(artifact)) for artifact in self._read(kind)}
        return self._by_name[kind]

    def _all(self, kind: ArtifactKind) -> list[Artifact]:
        return [artifact for artifact in self.artifacts if artifact.kind == kind]

    def _read(self, kind: ArtifactKind) -> list[Artifact]:
        """Those in a format that is read here."""
        return [artifact for artifact in self._all(kind) if is_readable(artifact)]

    def _describe(self, paths: dict[Path, Artifact]) -> dict[str, Any]:
        facts = ("kind", "name", "caption", "digest", "value_range")
        files = {path.name: {fact: getattr(made, fact) for fact in facts} for path, made in paths.items()}
        return {"run": self.run_id, **asdict(self.report), "files": files}

    def __repr__(self) -> str:
        names = ", ".join(f"{artifact.kind} {artifact.name!r}" for artifact in self.artifacts)
        return f"<Result of run {self.run_id}: {names or 'nothing'}>"


def _free_path(folder: Path, artifact: Artifact, taken: set[Path]) -> Path:
    # Names come from plugins: no path may leave the folder.
    stem = _UNSAFE.sub("_", artifact.name).strip("._") or artifact.kind
    suffix = _suffix(artifact)
    path = folder / (stem + suffix)
    number = 2
    while path in taken:
        path = folder / f"{stem}-{number}{suffix}"
        number += 1
    return path


def _suffix(artifact: Artifact) -> str:
    """That of the media type: the usual one, else its last word ("image/x-exr": .exr)."""
    if artifact.media_type in _PLAIN:
        return _SUFFIXES[artifact.kind]
    subtype = artifact.media_type.rpartition("/")[2].removeprefix("x-")
    return mimetypes.guess_extension(artifact.media_type) or f".{_UNSAFE.sub('_', subtype)}"
