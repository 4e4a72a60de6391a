"""States: what a technique keeps, put down and taken up to the same bits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from convscope_sdk import Event, Progress, Run, technique
from convscope_sdk.conformance import NonConformity, Subject, check_goes_on_where_it_was_put_down
from convscope_sdk.inprocess import start
from convscope_sdk.packing import Packer, Unpacker
from convscope_sdk.state import Memory, Saved, State, StateMismatch
from support import zoo
from support.bad_techniques import forgetful, silent, stuck, undeclared
from support.walking import WalkParams, walk


def _run(kept: list[Saved] | None = None, **options: Any) -> list[Event]:
    def keep(memory: Memory) -> None:
        if kept is not None:
            kept.append(memory.save().by_way_of_json())

    return list(start(options.pop("technique", walk), zoo.tiny(), keep=keep, seed=3, **options))


def test_a_run_taken_up_anywhere_gives_the_rest_to_the_same_bits() -> None:
    kept: list[Saved] = []
    whole = _run(kept)
    assert len(kept) == 12
    for number, saved in enumerate(kept, start=1):
        rest = _run(saved=saved)
        # A note and so many steps were before; and between the legs what is told of the first.
        before = 1 + number + (3 if number > 6 else 0)
        assert [type(event) for event in rest] == [type(event) for event in whole[before:]]
        assert torch.equal(rest[-1].values, whole[-1].values)


def test_what_was_saved_is_not_changed_by_what_comes_later() -> None:
    kept: list[Saved] = []
    _run(kept)
    again: list[Saved] = []
    _run(again, saved=kept[0])
    assert [saved.facts for saved in again] == [saved.facts for saved in kept[1:]]
    for one, other in zip(again, kept[1:], strict=True):
        assert all(torch.equal(one.tensors[name], other.tensors[name]) for name in other.tensors)


def test_a_run_can_be_taken_up_with_other_parameters() -> None:
    kept: list[Saved] = []
    whole = _run(kept)
    steered = _run(saved=kept[5], params={"step_size": 1.0})
    assert torch.equal(steered[-1].values[0], whole[-1].values[0])  # the first leg was walked already
    assert not torch.equal(steered[-1].values[1], whole[-1].values[1])


def test_states_are_no_events_for_who_runs_a_technique_in_process() -> None:
    assert not any(isinstance(event, State) for event in walk.run(zoo.tiny()))


@pytest.mark.parametrize(
    "facts",
    [{"other": {}}, {"legs": {"legs": []}}, {"legs": {"leg": 1, "legs": {"is": "stateful", "of": 1}}}],
)
def test_a_checkpoint_of_other_states_is_refused(facts: dict[str, Any]) -> None:
    with pytest.raises(StateMismatch, match="another version"):
        _run(saved=Saved({"states": facts}, {}))


def test_a_name_that_was_not_given_is_refused() -> None:
    state = Memory().open("ascent", {"step": 0})
    with pytest.raises(AttributeError, match="state 'ascent' has no 'stepp'; it has step"):
        state.stepp = 1
    with pytest.raises(AttributeError):
        _ = state.pixels


def test_two_open_states_have_two_names() -> None:
    memory = Memory()
    with memory.open("ascent", {}), pytest.raises(ValueError, match="open already"):
        memory.open("ascent", {})
    memory.open("ascent", {})


@pytest.mark.parametrize("name", ["_step", "values"])
def test_a_state_keeps_its_own_names(name: str) -> None:
    with pytest.raises(ValueError, match="choose another name"):
        Memory().open("ascent", {name: 0})


def test_what_cannot_be_kept_is_told_with_its_place() -> None:
    memory = Memory()
    memory.open("ascent", {"kept": [1, {"here": object()}]})
    with pytest.raises(TypeError, match=r"ascent.kept\[1\]\['here'\] is a object"):
        memory.save()


def _through(value: Any, first: Any = None) -> Any:
    packer = Packer()
    packed = json.loads(json.dumps(packer.pack(value, "value")))
    return Unpacker(packer.tensors, "cpu").unpack(packed, first)


_SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), st.floats(width=32).map(np.float32)
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(st.one_of(st.text(), st.integers()), inner, max_size=4),
    ),
    max_leaves=12,
)


@given(_VALUES)
def test_plain_values_come_back_as_they_were(value: Any) -> None:
    found = _through(value)
    assert type(found) is type(value)
    assert repr(found) == repr(value)


@pytest.mark.parametrize(
    "value",
    [
        torch.tensor(3.5), torch.empty(0, 3), torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        torch.randn(3, 4).half(), torch.tensor([True, False]), torch.randn(2, 2, dtype=torch.complex64),
        torch.arange(6).view(2, 3).T, torch.ones(2, requires_grad=True), torch.tensor([float("nan"), float("inf")]),
    ],
)  # fmt: skip
def test_tensors_come_back_as_they_were(value: torch.Tensor) -> None:
    found = _through(value)
    assert torch.equal(torch.nan_to_num(torch.view_as_real(found) if found.is_complex() else found),
                       torch.nan_to_num(torch.view_as_real(value) if value.is_complex() else value))  # fmt: skip
    assert (found.dtype, found.requires_grad) == (value.dtype, value.requires_grad)
    assert found.stride() == value.stride()


def test_products_of_what_lies_transposed_are_the_same_to_the_bit() -> None:
    weight, row = torch.randn(129, 129).T, torch.randn(3, 129)
    assert torch.equal(row @ _through(weight), row @ weight)
    array = weight.numpy().astype("float32").T
    assert _through(array.T).strides == array.T.strides
    assert _through(weight[:, ::2]).is_contiguous()  # only the order of axes is kept, not what was left out


@pytest.mark.parametrize("dtype", ["float64", "float32", "int16", "uint8", "uint32", "bool", "int64"])
def test_arrays_come_back_as_they_were(dtype: str) -> None:
    value = np.arange(6).reshape(2, 3).astype(dtype)
    found = _through(value)
    assert isinstance(found, np.ndarray)
    assert found.dtype == value.dtype
    assert np.array_equal(found, value)


def test_an_optimizer_is_kept_by_its_own_state() -> None:
    def made() -> tuple[torch.nn.Parameter, torch.optim.Adam]:
        weight = torch.nn.Parameter(torch.ones(3))
        return weight, torch.optim.Adam([weight], 0.1)

    weight, optimizer = made()
    weight.square().sum().backward()
    optimizer.step()
    _, other = made()
    assert _through(optimizer, other) is other
    assert torch.equal(other.state_dict()["state"][0]["exp_avg"], optimizer.state_dict()["state"][0]["exp_avg"])


def test_the_kit_takes_a_technique_up_at_each_of_its_states() -> None:
    check_goes_on_where_it_was_put_down(Subject(walk))


@pytest.mark.parametrize(
    ("bad", "said"),
    [(forgetful, "differs in its event"), (undeclared, "declare it"), (silent, "never yields"), (stuck, "twice at")],
)
def test_the_kit_tells_who_cannot_be_taken_up(bad: Any, said: str) -> None:
    with pytest.raises(NonConformity, match=said):
        check_goes_on_where_it_was_put_down(Subject(bad))


@pytest.mark.parametrize(
    ("options", "said"),
    [({"steers": {"steps"}}, "only one that is resumable"), ({"steers": {"speed"}, "resumable": True}, "'speed'")],
)
def test_only_parameters_of_a_resumable_technique_steer(options: dict[str, Any], said: str) -> None:
    def made(run: Run[WalkParams]) -> Iterator[Event]:
        """Nothing."""
        yield Progress(1)

    with pytest.raises(ValueError, match=said):
        technique("test.made", **options)(made)
