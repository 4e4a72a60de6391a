from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import convscope
from convscope._record import Frames
from convscope.events import Artifact, Frame
from convscope.testing import FakeServer, image, preview, progress, succeeded, table, tensor, text
from convscope.testing.events import Event
from convscope.v1 import artifact_pb2

RED, BLUE = Image.new("RGB", (40, 20), "red"), Image.new("RGB", (40, 20), "blue")


def result_of(*events: Event) -> convscope.Result:
    server = FakeServer()
    server.add_technique("x", list(events))
    return server.client().visualize("x").result()


def test_saving_writes_every_result_and_the_report(tmp_path: Path) -> None:
    result = result_of(
        image("saliency", RED, caption="where"),
        tensor("saliency", np.eye(3)),
        table("top", [{"p": 0.5}]),
        text("words", "Wörter"),
        succeeded({"loss": 0.25}, notes=["a note"], provenance={"seed": 7}, predictions=[(1, "cat", 0.5)]),
    )
    paths = result.save(tmp_path / "new" / "folder")
    assert [path.name for path in paths] == ["saliency.png", "saliency.npy", "top.json", "words.txt", "report.json"]
    with Image.open(paths[0]) as picture:
        assert picture.getpixel((0, 0)) == (255, 0, 0)
    np.testing.assert_array_equal(np.load(paths[1], allow_pickle=False), np.eye(3))
    assert json.loads(paths[2].read_text()) == [{"p": 0.5}]
    assert paths[3].read_text(encoding="utf-8") == "Wörter"
    report = json.loads(paths[4].read_text())
    assert report["scores"] == {"loss": 0.25}
    assert report["provenance"] == {"seed": 7}
    assert report["predictions"] == [{"index": 1, "label": "cat", "probability": 0.5}]
    assert report["files"]["saliency.png"]["caption"] == "where"


def test_formats_that_are_not_read_here_are_kept_and_saved_as_they_came(tmp_path: Path) -> None:
    drawing, exotic = text("drawing", "<svg/>"), text("depth", "not an EXR")
    for event, media_type in ((drawing, "image/svg+xml"), (exotic, "image/x-e../xr")):
        event.result.kind = artifact_pb2.ARTIFACT_KIND_IMAGE
        event.result.media_type = media_type
    result = result_of(drawing, exotic, image("map", BLUE))
    assert set(result.images) == {"map"}
    assert result.image.getpixel((0, 0)) == (0, 0, 255)
    names = [path.name for path in result.save(tmp_path)]
    assert names == ["drawing.svg", "depth.xr", "map.png", "report.json"]


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "..", ".hidden", "a/b", "", "C:\\x", "report"])
def test_no_name_leads_out_of_the_folder_or_over_the_report(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "out"
    paths = result_of(table(name, [{"a": 1}]), table(name + "/", [{"a": 2}])).save(folder)
    assert len(set(paths)) == 3
    assert all(path.parent == folder and path.is_file() for path in paths)
    assert "scores" in json.loads((folder / "report.json").read_text())


def test_the_picture_to_look_at_first_is_never_the_input() -> None:
    assert result_of(image("input", RED), image("map", BLUE)).image.getpixel((0, 0)) == (0, 0, 255)
    assert result_of(image("map", BLUE), image("overlay", RED)).image.getpixel((0, 0)) == (255, 0, 0)
    with pytest.raises(convscope.NotFound, match="made no picture"):
        _ = result_of(image("input", RED)).image


@pytest.mark.parametrize("suffix", [".webp", ".gif", ".png"])
def test_an_animation_shows_the_previews_and_then_the_picture(tmp_path: Path, suffix: str) -> None:
    small = Image.new("RGB", (20, 10), "green")
    result = result_of(progress(1, 2), preview(small), progress(2, 2), preview(RED), image("dream", BLUE))
    assert [frame.step for frame in result.previews] == [1, 2]
    with Image.open(result.animation(tmp_path / f"film{suffix}", fps=10)) as film:
        assert (film.n_frames, film.size) == (3, (40, 20))  # type: ignore[attr-defined]
        film.seek(2)
        red, green, blue = film.convert("RGB").getpixel((20, 10))  # type: ignore[misc]
    assert blue > 200
    assert max(red, green) < 50


def test_an_animation_is_bounded(tmp_path: Path) -> None:
    big = Image.new("RGB", (2000, 1000))
    result = result_of(preview(big), image("dream", big))
    with Image.open(result.animation(tmp_path / "film.webp", max_edge=100)) as film:
        assert film.size == (100, 50)


def test_what_cannot_be_animated_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(convscope.FailedPrecondition, match="no previews to animate"):
        result_of(image("dream", RED)).animation(tmp_path / "film.gif")
    result = result_of(preview(RED), image("dream", RED))
    with pytest.raises(convscope.InvalidArgument, match=r"cannot animate as '\.mp4'; choose \.webp, \.gif, \.png"):
        result.animation(tmp_path / "film.mp4")
    with pytest.raises(convscope.InvalidArgument, match="fps"):
        result.animation(tmp_path / "film.gif", fps=0)


@pytest.mark.parametrize("count", [1, 239, 240, 241, 5000])
def test_kept_previews_are_bounded_and_evenly_spread(count: int) -> None:
    frames = Frames(limit=240)
    artifact = Artifact("", "image", "image/png", "", 0)
    for step in range(count):
        frames.add(Frame(step, step + 1, artifact))
    steps = [frame.step for frame in frames.kept]
    assert len(steps) == count if count <= 240 else 120 <= len(steps) <= 240
    assert steps[0] == 0
    assert len(set(np.diff(steps))) <= 1


def test_a_page_is_written_as_one_file_and_saved_as_html(tmp_path: Path) -> None:
    result = result_of(text("words", "no page"), text("embedding", "<p>Wörter", media_type="text/html"))
    file = result.html(tmp_path / "new" / "map.html")
    assert file.read_text(encoding="utf-8") == "<p>Wörter"
    assert result.html(tmp_path / "again.html", name="embedding").read_bytes() == file.read_bytes()
    assert [path.name for path in result.save(tmp_path / "all")] == ["words.txt", "embedding.html", "report.json"]


def test_a_page_opens_in_the_browser_where_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    result_of(text("embedding", "<p>", media_type="text/html")).html(tmp_path / "map.html", show=True)
    assert opened == [(tmp_path / "map.html").as_uri()]


def test_a_run_without_a_page_says_what_it_made(tmp_path: Path) -> None:
    with pytest.raises(convscope.NotFound, match=r"made no page; it made .*text 'words'"):
        result_of(text("words", "no page")).html(tmp_path / "map.html")
    with pytest.raises(convscope.NotFound, match="made no page 'other'"):
        result_of(text("embedding", "<p>", media_type="text/html")).html(tmp_path / "map.html", name="other")


def test_a_table_is_had_as_a_data_frame() -> None:
    result = result_of(table("other", []), table("neighbours", [{"name": "a", "p": 0.5}, {"name": "b", "p": 0.25}]))
    frame = result.dataframe("neighbours")
    assert list(frame.columns) == ["name", "p"]
    assert frame["p"].sum() == 0.75
    assert len(result.dataframe()) == 0
    with pytest.raises(convscope.NotFound, match=r"no table 'none'; it made .*table 'neighbours'"):
        result.dataframe("none")


def test_without_pandas_a_data_frame_says_how_to_have_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(convscope.FailedPrecondition, match="pip install pandas"):
        result_of(table("top", [{"p": 0.5}])).dataframe()


def test_an_animation_takes_no_more_frames_than_it_is_asked_to(tmp_path: Path) -> None:
    frames = [preview(RED, step=step) for step in range(1, 21)]
    result = result_of(*frames, image("dream", RED))
    with Image.open(result.animation(tmp_path / "film.gif", max_frames=5)) as film:
        assert film.n_frames <= 6
