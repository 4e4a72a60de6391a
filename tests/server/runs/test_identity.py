"""Requests share an identity exactly where their events are the same."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from convscope_server.engine.engine import Catalog
from convscope_server.engine.messages import ImageSetInfo, ModelInfo, PreviewOptions, TechniqueInfo
from convscope_server.runs.identity import identity
from support.run_house import request

_SCHEMA = json.dumps({"properties": {"steps": {"default": 10}, "strength": {"default": 0.5}, "other": {"default": ""}}})
_GRAD_CAM = TechniqueInfo("grad_cam", "", _SCHEMA, package="convscope", version="1", revision="r1")
_TINY = ModelInfo("tiny", "classifier", "folder", version="1-2-3")


def catalog(technique: TechniqueInfo = _GRAD_CAM, *models: ModelInfo, **sets: str) -> Catalog:
    found = {model.name: model for model in (_TINY, *models)}
    return Catalog({technique.id: technique}, found, {n: ImageSetInfo(n, source) for n, source in sets.items()})


@pytest.mark.parametrize(
    "changes",
    [
        {"owner": "ada"},
        {"labels": {"a": "b"}},
        {"request_id": "x"},
        {"on_disconnect": "cancel"},
        {"max_restarts": 2},
        {"deadline_seconds": 5.0},
        {"params": {"steps": 10}},
        {"params": {"steps": 10.0, "strength": 0.5}},
    ],
)
def test_who_asks_and_how_makes_no_difference(changes: dict[str, Any]) -> None:
    assert identity(request(**changes), catalog()) == identity(request(), catalog()) != ""


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"params": {"steps": 11}},
        {"image": "sha256:1"},
        {"extra_images": {"style": "sha256:1"}},
        {"previews": PreviewOptions(none=True)},
        {"model": "timm:resnet18"},
    ],
)
def test_whatever_changes_a_pixel_makes_another(changes: dict[str, Any]) -> None:
    assert identity(request(**changes), catalog()) not in {identity(request(), catalog()), ""}


def test_roles_are_told_apart() -> None:
    as_image = request(image="sha256:1")
    as_style = request(extra_images={"style": "sha256:1"})
    assert identity(as_image, catalog()) != identity(as_style, catalog())


@pytest.mark.parametrize("change", [{"revision": "r2"}, {"version": "2"}, {"package": "theirs"}])
def test_another_line_of_code_makes_another(change: dict[str, str]) -> None:
    assert identity(request(), catalog(replace(_GRAD_CAM, **change))) != identity(request(), catalog())


def test_another_weight_makes_another_and_so_does_that_of_a_model_named_in_a_parameter() -> None:
    before = catalog(_GRAD_CAM, ModelInfo("second", "classifier", "folder", version="1"))
    after = catalog(_GRAD_CAM, ModelInfo("second", "classifier", "folder", version="2"))
    unread, read = request(), request(params={"other": "second"})
    assert identity(unread, before) == identity(unread, after)
    assert identity(read, before) != identity(read, after)
    changed = Catalog(before.techniques, {**before.models, "tiny": replace(_TINY, version="9")})
    assert identity(unread, before) != identity(unread, changed)


def test_a_generator_may_lead_to_any_model() -> None:
    technique = replace(_GRAD_CAM, needs=("generator",))
    before = catalog(technique, ModelInfo("second", "classifier", "folder", version="1"))
    after = catalog(technique, ModelInfo("second", "classifier", "folder", version="2"))
    assert identity(request(), before) != identity(request(), after)


@pytest.mark.parametrize(
    "unknown",
    [
        Catalog(),
        catalog(replace(_GRAD_CAM, cacheable=False)),
        catalog(replace(_GRAD_CAM, revision="")),
        Catalog({"grad_cam": _GRAD_CAM}, {"tiny": replace(_TINY, version="")}),
        Catalog({"grad_cam": _GRAD_CAM}),
    ],
)
def test_there_is_none_where_it_cannot_be_told(unknown: Catalog) -> None:
    assert identity(request(), unknown) == ""


def test_there_is_none_where_a_plugin_writes_the_results() -> None:
    assert identity(request(media_types=("image/webp",)), catalog()) == ""


def test_image_sets_count_by_what_is_in_them() -> None:
    looking = replace(_GRAD_CAM, needs=("image_set",))
    sets = catalog(looking, samples="builtin", holiday="folder")
    uploaded = request(params={"image_set": "mine"}, image_sets={"mine": "sha256:1"})
    assert identity(request(params={"image_set": "samples"}), sets) != ""
    assert identity(request(params={"image_set": "holiday"}), sets) == ""  # its files may change unseen
    assert identity(uploaded, sets) != identity(replace(uploaded, image_sets={"mine": "sha256:2"}), sets)


_plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=3), _plain, max_size=4), st.randoms())
def test_the_order_of_parameters_makes_no_difference(params: dict[str, Any], random: Any) -> None:
    shuffled = list(params.items())
    random.shuffle(shuffled)
    assert identity(request(params=params), catalog()) == identity(request(params=dict(shuffled)), catalog())
