"""The gallery asks for what there is, and shows what it asked for."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from PIL import Image

from convscope_techniques import convscope_techniques
from support.sources import ROOT

sys.path.insert(0, str(ROOT / "docs"))
from _gallery.pages import PICTURES, gallery_pages
from _gallery.photographs import photograph
from _gallery.plan import Entry, Shot, read_plan

TECHNIQUES = {technique.id: technique for technique in convscope_techniques()}
PLAN = read_plan()
PAGES = gallery_pages(list(TECHNIQUES.values()))
MOST_BYTES, MOST_BYTES_OF_ONE = 10_000_000, 700_000


@pytest.mark.parametrize("entry", PLAN.values(), ids=PLAN)
def test_every_run_of_the_plan_is_one_that_the_technique_takes(entry: Entry) -> None:
    technique = TECHNIQUES[entry.technique]
    assert entry.runs
    for run in entry.runs:
        technique.params.parse(dict(run.params))
        assert run.extra.keys() <= technique.extra_images.keys()
        assert run.image or "image" not in technique.needs


def test_every_technique_has_a_page() -> None:
    assert PLAN.keys() == TECHNIQUES.keys()
    assert PAGES.keys() == {"gallery/index.md", *(f"gallery/{name}.md" for name in TECHNIQUES)}


@pytest.mark.parametrize("entry", PLAN.values(), ids=PLAN)
def test_every_run_of_the_plan_is_painted_as_it_is_planned(entry: Entry) -> None:
    painted = json.loads((PICTURES / entry.technique / "runs.json").read_text(encoding="utf-8"))
    assert [run["command"] for run in painted] == [shot.command(entry.technique) for shot in entry.runs]
    for shot, run in zip(entry.runs, painted, strict=True):
        names = [picture["name"] for picture in run["pictures"]]
        assert names, "a run without pictures"
        assert run["caption"] == shot.caption
        made = [name for name in names if name != "film" and name not in shot.extra]
        assert made == list(shot.show) or not shot.show
        assert shot.extra.keys() <= set(names)
        assert ("film" in names) == shot.film


@pytest.mark.parametrize("entry", PLAN.values(), ids=PLAN)
def test_every_picture_is_on_its_page_and_none_lies_about(entry: Entry) -> None:
    shown = re.findall(r"!\[[^]]*\]\((\S+)\)", PAGES[f"gallery/{entry.technique}.md"])
    files = {f"{entry.technique}/{file.name}" for file in (PICTURES / entry.technique).iterdir()}
    assert set(shown) == files - {f"{entry.technique}/runs.json"}


def test_no_folder_of_pictures_is_without_a_page() -> None:
    assert {folder.name for folder in PICTURES.iterdir()} == PLAN.keys()


def test_pictures_are_small_and_films_move() -> None:
    sizes = {file: file.stat().st_size for file in PICTURES.glob("*/*.webp")}
    assert max(sizes.values()) <= MOST_BYTES_OF_ONE
    assert sum(sizes.values()) <= MOST_BYTES
    films = [file for file in sizes if file.stem.endswith("film")]
    assert len(films) == sum(run.film for entry in PLAN.values() for run in entry.runs)
    for film in films:
        with Image.open(film) as frames:
            assert frames.n_frames > 3, film  # type: ignore[attr-defined]


def test_techniques_of_one_kind_stand_together() -> None:
    rooms = [entry.room for entry in PLAN.values()]
    assert [room for room, before in zip(rooms, ["", *rooms], strict=False) if room != before] == list(
        dict.fromkeys(rooms)
    )


def test_every_photograph_of_the_plan_is_at_hand() -> None:
    names = {name for entry in PLAN.values() for run in entry.runs for name in (run.image, *run.extra.values()) if name}
    assert names
    for name in names:
        picture = photograph(name)
        assert picture.mode == "RGB"
        assert 64 <= max(picture.size) <= 640


def test_a_page_has_the_formula_the_paper_and_the_parameters() -> None:
    page = gallery_pages([TECHNIQUES["grad_cam"]])["gallery/grad_cam.md"]
    assert '<math xmlns="http://www.w3.org/1998/Math/MathML" display="block">' in page
    assert "arXiv:1610.02391" in page
    assert "| `target` |" in page
    assert "## How to read it" in page


def test_a_technique_that_is_not_installed_has_no_page() -> None:
    assert set(gallery_pages([TECHNIQUES["saliency"]])) == {"gallery/index.md", "gallery/saliency.md"}


def test_the_command_on_a_page_is_the_one_that_was_run() -> None:
    shot = Shot("chelsea", {"style": "flower"}, {"layers": ["a", "b"], "size": 320})
    assert shot.command("x") == "convscope run x --image chelsea.png --extra style=flower.png -p layers=a,b -p size=320"


def test_an_unknown_key_of_the_plan_is_refused(tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text("[saliency]\ntitle='S'\nroom='R'\nformula=[]\nread=''\n[[saliency.runs]]\nimages='cat'\n")
    with pytest.raises(TypeError, match="images"):
        read_plan(plan)
