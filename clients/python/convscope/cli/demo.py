"""Every built-in technique on real photographs, through a real server, onto one page."""

from __future__ import annotations

import itertools
import shlex
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from PIL import Image

from convscope._embedded import needs_server
from convscope.catalog import TechniqueInfo
from convscope.cli import demo_page, exits
from convscope.cli.board import Board
from convscope.client import DEFAULT_MODEL, Client, connect
from convscope.errors import ConvscopeError, DeadlineExceeded
from convscope.result import Result
from convscope.testing import ServerProcess

__all__ = ["demo"]

_START_SECONDS = 120.0
_SUBJECTS = {"chelsea": "a cat called Chelsea", "coffee": "a cup of coffee"}
_PLAN = (
    ("filters", ""),
    ("activations", "chelsea"),
    *itertools.product(("saliency", "grad_cam", "deepdream", "occlusion"), _SUBJECTS),
)
# A dream is worth more pixels than the network's own input has.
_PARAMS: dict[str, dict[str, Any]] = {"deepdream": {"size": 448}}


@dataclass(frozen=True, slots=True)
class _Task:
    """One run of the demo: a technique, the photograph that it looks at, and where its files go."""

    technique: str
    subject: str
    folder: Path

    @property
    def image(self) -> Path | None:
        return self.folder.parent / f"{self.subject}.png" if self.subject else None

    @property
    def command(self) -> str:
        words = ["convscope", "run", self.technique]
        words += ["--image", f"{self.subject}.png"] if self.subject else []
        return shlex.join(words + [word for name, value in self.params.items() for word in ("-p", f"{name}={value}")])

    @property
    def params(self) -> dict[str, Any]:
        return _PARAMS.get(self.technique, {})


def demo(
    *,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Where the page goes.")] = Path("demo"),
    seconds: Annotated[float, typer.Option(min=1, help="What is not made by then is left out.")] = 150.0,
) -> None:
    """Make a page of pictures with a server of its own.

    Runs every built-in technique on two photographs, on this machine's CPU or GPU, and writes DIR/index.html.
    """
    began = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    _write_photographs(out)
    with _server() as address, connect(address) as client:
        sheets = list(_sheets(client, out, seconds))
    index = out / "index.html"
    index.write_text(demo_page.page(sheets, model=DEFAULT_MODEL, seconds=time.monotonic() - began), encoding="utf-8")
    typer.echo(index)
    if any(sheet.error for sheet in sheets):
        raise typer.Exit(exits.FAILED)


def _sheets(client: Client, out: Path, seconds: float) -> Iterator[demo_page.Sheet]:
    """Every run of the plan, as long as there is time."""
    ends = time.monotonic() + seconds
    about = {technique.id: technique for technique in client.techniques()}
    for technique, subject in _PLAN:
        task = _Task(technique, subject, out / "-".join(filter(None, (technique, subject))))
        try:
            found = about.get(technique, TechniqueInfo(technique, "Not there: `convscope plugins` says why.", {}))
            yield _sheet(client, found, task, deadline=max(ends - time.monotonic(), 0.001))
        except DeadlineExceeded:
            exits.complain(f"out of time: {technique} {subject} and what follows was left out; give --seconds more")
            return


def _write_photographs(out: Path) -> None:
    with needs_server():
        import skimage.data
    for subject in _SUBJECTS:
        Image.fromarray(getattr(skimage.data, subject)()).save(out / f"{subject}.png")


@contextmanager
def _server() -> Iterator[str]:
    """The address of a server process on a free port, with a data directory of its own.

    Raises:
        Unavailable: it did not get ready; the message has the end of its log.
    """
    flags = ("--host", "127.0.0.1", "--warm", DEFAULT_MODEL, "--log-level", "warning")
    with (
        tempfile.TemporaryDirectory(prefix="convscope-demo-") as data,
        ServerProcess(Path(data), *flags, patience=_START_SECONDS) as server,
    ):
        yield server.address


def _sheet(client: Client, about: TechniqueInfo, task: _Task, *, deadline: float) -> demo_page.Sheet:
    """One run as it comes on the page.

    Raises:
        DeadlineExceeded: there was no time for it.
    """
    began = time.monotonic()
    sheet = demo_page.Sheet(about.id, _SUBJECTS.get(task.subject, ""), about.summary, about.cites, task.command)
    try:
        run = client.visualize(
            about.id, image=task.image, deadline=deadline, previews={"min_interval": 0.0}, **task.params
        )
        with Board(f"{about.id} {task.subject}".strip()) as board:
            result = run.result(on_event=board.update)
    except DeadlineExceeded:
        raise
    except ConvscopeError as error:
        exits.complain(f"{about.id} {task.subject}: {exits.words(error)}")
        return replace(sheet, seconds=time.monotonic() - began, error=exits.words(error))
    spent = time.monotonic() - began
    typer.echo(f"{about.id:12} {task.subject:8} {spent:5.1f} s", err=True)
    report = result.report
    return replace(
        sheet,
        seconds=spent,
        pictures=_pictures(result, task),
        params=report.provenance.get("params", {}),
        scores=report.scores,
        predictions=report.predictions,
        notes=report.notes,
    )


def _pictures(result: Result, task: _Task) -> list[demo_page.Picture]:
    """Write the result's pictures, and its film where there is one; the input comes first."""
    paths = result.save(task.folder)
    images = [artifact for artifact in result.artifacts if artifact.kind == "image"]
    written = [path for path in paths if path.suffix == ".png"]
    pictures = [
        demo_page.Picture(f"{task.folder.name}/{path.name}", _caption(made.name, made.caption))
        for made, path in sorted(zip(images, written, strict=True), key=lambda pair: pair[0].name != "input")
    ]
    if task.technique == "deepdream" and result.previews:
        film = result.animation(task.folder / "film.webp")
        pictures.append(demo_page.Picture(f"{task.folder.name}/{film.name}", "the dream, step by step"))
    return pictures


def _caption(name: str, caption: str) -> str:
    return f"{name}: {caption}" if caption and caption != name else name
