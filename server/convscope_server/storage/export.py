"""A run as plain files: what happened as lines of JSON, and everything it was given and made."""

from __future__ import annotations

import datetime as dt
import mimetypes
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
from sqlalchemy import Connection, select

from convscope_server.images.blobs import Blobs
from convscope_server.runs.events import Artifact, Event, Preview, Result
from convscope_server.runs.run import RunRequest
from convscope_server.runs.schema import events, runs
from convscope_server.storage.place import Place

__all__ = ["NoRunError", "export_run"]

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_SUFFIXES = {"application/x-npy": ".npy", "text/plain": ".txt"}
_event_of = msgspec.msgpack.Decoder(Event).decode
_request_of = msgspec.msgpack.Decoder(RunRequest).decode

_README = """\
One run of a convscope server.

run.json      what was asked for, by whom, and how it ended
events.jsonl  its log, one event a line: "sequence" counts from 1, "event" says what it is, "time" is UTC
artifacts/    what it made, named by the event's sequence; events name them as "file"
inputs/       what it was given; run.json names them

Pictures are PNG, JPEG or WebP, tensors .npy (NumPy), tables JSON. Digests are the SHA-256 of a file's bytes.
"""


class NoRunError(LookupError):
    """There is no such run in the store."""


def export_run(place: Place, run: str, target: Path) -> list[str]:
    """Write a run to a folder, or to a zip file where the target ends in `.zip`; it appears whole or not at all.

    Reads only: a server may run beside it.

    Returns:
        Digests that the run refers to and that are not in the store, for which there is no file.

    Raises:
        FileExistsError: there is something at the target.
        NoRunError: there is no such run.
        NoStoreError, StoreVersionError: as of `Place.snapshot`.
    """
    if target.exists():
        raise FileExistsError(f"{target} exists; choose another name")
    target.parent.mkdir(parents=True, exist_ok=True)
    with place.snapshot() as connection, TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as made:
        row = connection.execute(select(runs).where(runs.c.id == run)).first()
        if row is None:
            raise NoRunError(f"no run {run!r} in {place.data}; `convscope runs` lists those of a running server")
        folder = Path(made) / "run"
        missing = _Export(folder, place.blobs).write(connection, row)
        if target.suffix == ".zip":
            _zip(folder, Path(made) / "run.zip").rename(target)
        else:
            folder.rename(target)
    return missing


class _Export:
    """One export on its way."""

    def __init__(self, folder: Path, blobs: Blobs) -> None:
        self._folder = folder
        self._blobs = blobs
        self._missing: list[str] = []

    def write(self, connection: Connection, row: Any) -> list[str]:
        """Everything; gives the digests that are not in the store."""
        self._folder.mkdir()
        (self._folder / "README.txt").write_text(_README, encoding="utf-8")
        _write_json(self._folder / "run.json", self._run(row))
        query = select(events.c.sequence, events.c.time, events.c.payload).where(events.c.run == row.id)
        with (self._folder / "events.jsonl").open("wb") as lines:
            for each in connection.execute(query.order_by(events.c.sequence)):
                lines.write(msgspec.json.encode(self._event(each)) + b"\n")
        return self._missing

    def _run(self, row: Any) -> dict[str, Any]:
        request = _request_of(row.request)
        asked = msgspec.to_builtins(request)
        inputs = {role: self._blob(f"inputs/{_safe(role)}", digest) for role, digest in request.inputs.items()}
        sets = {n: self._blob(f"inputs/image-set-{_safe(n)}.json", d) for n, d in request.image_sets.items()}
        return {
            "run": row.id,
            "state": row.state,
            **{name: _moment(getattr(row, name)) for name in ("create_time", "start_time", "end_time")},
            "events": row.last_sequence,
            "request": asked,
            "inputs": inputs,
            "image_sets": sets,
        }

    def _event(self, row: Any) -> dict[str, Any]:
        event = _event_of(row.payload)
        said = {"sequence": row.sequence, "time": _moment(row.time), **msgspec.to_builtins(_without_content(event))}
        if isinstance(event, Preview | Result):
            artifact = event.artifact
            path = f"artifacts/{row.sequence:06d}-{_safe(artifact.name or 'preview')}{_suffix(artifact)}"
            said["artifact"].pop("content", None)
            said["artifact"]["file"] = self._file(path, artifact)
        return said

    def _file(self, path: str, artifact: Artifact) -> str | None:
        if artifact.content is None:
            return self._blob(path, artifact.digest)
        _parented(self._folder / path).write_bytes(artifact.content)
        return path

    def _blob(self, path: str, digest: str) -> str | None:
        try:
            content = self._blobs.read(self._blobs.path(digest), 0, -1)
        except FileNotFoundError:
            self._missing.append(digest)
            return None
        if "." not in path.rpartition("/")[2]:
            path += _kind(content)
        _parented(self._folder / path).write_bytes(content)
        return path


def _without_content(event: Event) -> Event:
    if isinstance(event, Preview | Result):
        return msgspec.structs.replace(event, artifact=msgspec.structs.replace(event.artifact, content=None))
    return event


def _suffix(artifact: Artifact) -> str:
    found = _SUFFIXES.get(artifact.media_type) or mimetypes.guess_extension(artifact.media_type)
    return found or f".{_safe(artifact.media_type.rpartition('/')[2])}"


def _kind(content: bytes) -> str:
    """The suffix of a picture's file."""
    known = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"RIFF": ".webp", b"GIF8": ".gif", b"BM": ".bmp"}
    return next((suffix for start, suffix in known.items() if content.startswith(start)), ".bin")


def _safe(name: str) -> str:
    return _UNSAFE.sub("_", name)[:80].lstrip(".") or "unnamed"


def _moment(seconds: float | None) -> str | None:
    return None if seconds is None else dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat()


def _write_json(path: Path, value: object) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")


def _parented(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _zip(folder: Path, target: Path) -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for path in _files(folder):
            with path.open("rb") as source, archive.open(str(path.relative_to(folder)), "w") as into:
                shutil.copyfileobj(source, into)
    return target
