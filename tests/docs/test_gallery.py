"""The gallery asks for what there is, and shows what it asked for."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from convscope_techniques import convscope_techniques
from support.sources import ROOT

sys.path.insert(0, str(ROOT / "docs"))
from _gallery.pages import gallery_pages
from _gallery.photographs import photograph
from _gallery.plan import Entry, Shot, read_plan

TECHNIQUES = {technique.id: technique for technique in convscope_techniques()}
PLAN = read_plan()


@pytest.mark.parametrize("entry", PLAN.values(), ids=PLAN)
def test_every_run_of_the_plan_is_one_that_the_technique_takes(entry: Entry) -> None:
    technique = TECHNIQUES[entry.technique]
    assert entry.runs
    for run in entry.runs:
        technique.params.parse(dict(run.params))
        assert run.extra.keys() <= technique.extra_images.keys()
        assert run.image or "image" not in technique.needs


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
