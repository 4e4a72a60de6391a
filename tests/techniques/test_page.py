from __future__ import annotations

import base64
import io
import json
import re
from typing import Any

import numpy as np
from PIL import Image

from convscope_techniques.embedding.page import page
from convscope_techniques.embedding.regular_grid import RegularGrid

COLOURS = np.array([[200, 0, 0], [0, 200, 0], [0, 0, 200]], np.uint8)
PICTURES = np.broadcast_to(COLOURS[:, None, None], (3, 16, 16, 3)).copy()
GRID = RegularGrid(2, 2, np.array([3, 0, 1]), 1.0, True)
LAYOUT = np.array([[0.0, 5.0], [10.0, 5.0], [10.0, 0.0]])


def _data(text: str) -> dict[str, Any]:
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', text)
    assert found
    data: dict[str, Any] = json.loads(found[1])
    return data


def _page(**options: Any) -> str:
    return page("t-SNE", LAYOUT, GRID, PICTURES, **{"names": ["a", "b", "c"], "labels": ["x", "y", "x"], **options})


def test_it_holds_places_cells_names_and_labels() -> None:
    data = _data(_page())
    assert data["names"] == ["a", "b", "c"]
    assert data["labels"] == ["x", "y", "x"]
    assert data["cells"] == [[0.75, 0.75], [0.25, 0.25], [0.75, 0.25]]
    places = np.array(data["places"])
    assert places[1, 0] - places[0, 0] == np.ptp(places[:, 0])
    assert places.min() >= 0
    assert places.max() <= 1


def test_it_is_complete_in_itself() -> None:
    text = _page()
    assert not re.search(r"(?:src|href)=[\"']?(?!data:)|https?:|@import|url\(", text)
    (sheet,) = _data(text)["sheets"]
    with Image.open(io.BytesIO(base64.b64decode(sheet.removeprefix("data:image/jpeg;base64,")))) as picture:
        assert picture.size == (32, 32)
        np.testing.assert_allclose(picture.getpixel((8, 8)), COLOURS[0], atol=12)
        np.testing.assert_allclose(picture.getpixel((24, 8)), COLOURS[1], atol=12)
        np.testing.assert_allclose(picture.getpixel((8, 24)), COLOURS[2], atol=12)


def test_no_name_ends_the_script_or_starts_another() -> None:
    name = "</script><script>alert(1)</script>$data"
    text = _page(names=[name, "b", "c"])
    assert text.count("<script") == 2
    assert _data(text)["names"][0] == name


def test_many_pictures_lie_on_several_sheets() -> None:
    count, edge = 300, 128
    pictures = np.zeros((count, edge, edge, 3), np.uint8)
    grid = RegularGrid(17, 18, np.arange(count), 0.0, True)
    text = page(
        "many", np.random.default_rng(0).normal(size=(count, 2)), grid, pictures, names=["n"] * count, labels=[]
    )
    data = _data(text)
    assert len(data["sheets"]) == 2
    assert data["columns_of_sheet"] == 16
    assert data["labels"] == [""] * count
