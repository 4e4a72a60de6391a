from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import convscope
from convscope import aio
from convscope._wire_values import from_struct, to_struct
from convscope.testing import FakeServer, checkpointed, failed, progress


def fake() -> FakeServer:
    server = FakeServer()
    schema = {"type": "object", "properties": {"steps": {"type": "integer", "default": 10}}}
    server.add_technique(
        "saliency", [progress(1)], summary="Where.", params_schema=schema, needs=["image"], cites="A paper"
    )
    server.add_technique("broken", [failed("INTERNAL", "a bug")])
    server.add_model("tiny", classes=["cat"], layers=[("conv", "Conv2d")], aliases={"last_conv": "conv"})
    server.add_plugin("ours")
    server.add_plugin("theirs", reason="no module named x")
    return server


def test_the_catalog_arrives_as_plain_values() -> None:
    client = fake().client()
    technique = client.technique("saliency")
    assert technique == client.techniques()[1]
    assert technique.params_schema["properties"]["steps"]["default"] == 10
    assert (technique.needs, technique.cites) == (frozenset({"image"}), "A paper")
    model = client.model("tiny")
    assert model.layers == (convscope.LayerInfo("conv", "Conv2d", (8, 4, 4)),)
    assert (model.aliases, model.classes) == ({"last_conv": "conv"}, ("cat",))
    assert [m.name for m in client.models()] == ["efficientnet_lite0", "tiny"]
    assert [(p.name, p.loaded, p.reason) for p in client.plugins()] == [
        ("ours", True, ""),
        ("theirs", False, "no module named x"),
    ]


def test_devices_and_models_on_them_can_be_managed() -> None:
    client = fake().client()
    assert client.devices() == [convscope.DeviceInfo("cpu", "ready")]
    assert client.load_model("tiny", device="cuda:0") == "cuda:0"
    assert client.unload_model("tiny") == ["cpu"]


def test_runs_are_found_by_state_technique_and_label_over_all_pages() -> None:
    client = fake().client()
    for number in range(5):
        client.visualize("saliency", labels={"parity": str(number % 2)}).result()
    broken = client.visualize("broken")
    list(broken)
    assert [info.id for info in client.runs(state="failed")] == [broken.id]
    assert len(client.runs(technique="saliency")) == 5
    assert [info.labels for info in client.runs(labels={"parity": "1"})] == [{"parity": "1"}] * 2
    assert len(client.runs(limit=4)) == 4
    with pytest.raises(convscope.InvalidArgument, match="no run state 'done'; choose one of queued, running"):
        client.runs(state="done")  # type: ignore[arg-type]  # refused for just that


def test_pages_are_followed_to_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    server = fake()
    client = server.client()
    for _ in range(7):
        client.visualize("saliency", detach=True)
    page = server._list_runs

    def small_pages(request: Any) -> Any:
        request.page_size = min(request.page_size, 3)
        return page(request)

    monkeypatch.setattr(server, "_list_runs", small_pages)
    assert len({info.id for info in client.runs()}) == 7
    assert len(client.runs(limit=5)) == 5


def test_a_run_can_be_looked_up_cancelled_and_deleted() -> None:
    client = fake().client()
    run = client.visualize("saliency", detach=True, seed=7, steps=3)
    info = client.run(run.id)
    assert (info.technique, info.seed, info.params, info.state) == ("saliency", 7, {"steps": 3}, "running")
    with pytest.raises(convscope.FailedPrecondition, match="cancel it first"):
        client.delete(run.id)
    client.cancel(run.id)
    list(run)
    assert run.refresh().state == "cancelled"
    client.delete(run.id)
    with pytest.raises(convscope.NotFound):
        client.attach(run.id)


def test_a_run_can_be_paused_resumed_and_updated_by_its_id() -> None:
    client = steered().client()
    run = client.visualize("dream", detach=True, steps=9)
    assert client.pause(run.id).state == client.run(run.id).state == "paused"
    assert [info.id for info in client.runs(state="paused")] == [run.id]
    assert client.update(run.id, step_size=0.5).updates == ((0, {"step_size": 0.5}),)
    assert client.resume(run.id).state == "running"
    assert client.run(run.id).updates == (convscope.Update(0, {"step_size": 0.5}),)
    assert client.run(run.id).params == {"steps": 9}
    with pytest.raises(convscope.InvalidArgument, match="cannot change on the way"):
        client.update(run.id, steps=3)
    with pytest.raises(convscope.FailedPrecondition, match="keeps no checkpoints"):
        client.pause(client.visualize("saliency", detach=True).id)


def steered() -> FakeServer:
    server = fake()
    script = [progress(1, 3), checkpointed(1), progress(2, 3), progress(3, 3)]
    server.add_technique("dream", script, resumable=True, steers=["step_size", "tv"])
    return server


def test_a_technique_says_what_steers_it() -> None:
    dream, saliency = (steered().client().technique(name) for name in ("dream", "saliency"))
    assert (dream.resumable, dream.steers) == (True, {"step_size", "tv"})
    assert (saliency.resumable, saliency.steers, saliency.cacheable, saliency.batchable) == (False, set(), True, False)


def test_a_run_that_was_steered_is_repeated_with_its_own_updates() -> None:
    server = steered()
    client = server.client()
    run = client.visualize("dream", updates=[(2, {"tv": 0.5})])
    run.update(step_size=0.25)
    assert run.refresh().updates == ((2, {"tv": 0.5}), (0, {"step_size": 0.25}))
    client.visualize("dream", updates=run.refresh().updates)
    first, again = server.sent("Visualize")
    assert [(u.step, from_struct(u.params)) for u in first.updates] == [(2, {"tv": 0.5})]
    assert [(u.step, from_struct(u.params)) for u in again.updates] == [(2, {"tv": 0.5}), (0, {"step_size": 0.25})]


def test_a_request_carries_every_option() -> None:
    server = fake()
    server.client().visualize(
        "saliency",
        model="tiny",
        seed=2**63,
        request_id="6b0b7a3e-0000-4000-8000-000000000000",
        labels={"a": "b"},
        deadline=2.5,
        previews={"min_interval": 0.25, "max_edge": 64, "format": "webp"},
        max_restarts=2,
        media_types=["image/webp"],
        priority="batch",
        target="285-281",
        steps=5,
    )
    request = server.sent("Visualize")[0]
    assert (request.model, request.seed, request.max_restarts, dict(request.labels)) == ("tiny", 2**63, 2, {"a": "b"})
    assert list(request.media_types) == ["image/webp"]
    assert (request.deadline.seconds, request.deadline.nanos) == (2, 500_000_000)
    assert (request.previews.max_edge, request.previews.min_interval.nanos) == (64, 250_000_000)
    assert from_struct(request.params) == {"target": "285-281", "steps": 5}
    assert (request.on_disconnect, request.priority) == (1, 3)


def test_a_priority_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(convscope.InvalidArgument, match="no priority 'urgent'; there are interactive, normal, batch"):
        fake().client().visualize("saliency", priority="urgent")  # type: ignore[arg-type]  # the very point


def test_the_same_request_id_gives_the_same_run() -> None:
    client = fake().client()
    name = "6b0b7a3e-0000-4000-8000-000000000000"
    assert client.visualize("saliency", request_id=name).id == client.visualize("saliency", request_id=name).id
    with pytest.raises(convscope.AlreadyExists):
        client.visualize("saliency", request_id=name, steps=3)


def test_a_detached_run_is_submitted_and_not_watched() -> None:
    server = fake()
    run = server.client().visualize("saliency", detach=True)
    assert server.sent("Visualize") == []
    assert server.sent("SubmitRun")[0].request.on_disconnect == 2
    assert [event.sequence for event in run] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"deadline": -1}, "finite number of seconds"),
        ({"deadline": float("nan")}, "finite number of seconds"),
        ({"seed": -1}, "cannot be sent as it is"),
        ({"steps": object()}, "params.steps: <object object"),
        ({"steps": 2**60}, "up to 2\\^53"),
        ({"previews": {"fps": 3}}, "no preview option 'fps'"),
        ({"previews": {"format": "gif"}}, "no preview format 'gif'"),
        ({"labels": {"a": 3}}, "cannot be sent as it is"),
        ({"updates": {57: {"steps": 3}}}, "a step and what changes behind it, such as \\(57, {'step_size': 0.5}\\)"),
        ({"updates": [(57, 0.5)]}, "a step and what changes behind it"),
        ({"updates": [(5, {}), (57, {"steps": 2**60})]}, "updates\\[1\\].params.steps: .* up to 2"),
        ({"updates": [(0.5, {"steps": 3})]}, "cannot be sent as it is"),
    ],
)
def test_what_cannot_be_sent_is_refused_in_words(options: dict[str, Any], words: str) -> None:
    with pytest.raises(convscope.InvalidArgument, match=words):
        fake().client().visualize("saliency", **options)


def test_parameters_may_be_numpy_values_and_tuples() -> None:
    struct = to_struct({"a": np.float32(0.5), "b": np.arange(2), "c": (1, None, {"d": True})})
    assert from_struct(struct) == {"a": 0.5, "b": [0, 1], "c": [1, None, {"d": True}]}


def test_no_previews_are_asked_for_with_false() -> None:
    server = fake()
    server.client().visualize("saliency", previews=False)
    assert server.sent("Visualize")[0].previews.none


def test_the_async_client_does_the_same() -> None:
    async def use() -> None:
        async with steered().async_client() as client:
            assert [t.id for t in await client.techniques()] == ["broken", "dream", "saliency"]
            assert (await client.technique("saliency")).summary == "Where."
            assert (await client.model("tiny")).name == "tiny"
            assert len(await client.models()) == 2
            assert len(await client.plugins()) == 2
            assert len(await client.devices()) == 1
            assert await client.load_model("tiny") == "cpu"
            assert await client.unload_model("tiny") == ["cpu"]
            run = await client.visualize("saliency", detach=True)
            assert (await client.run(run.id)).state == "running"
            assert [info.id for info in await client.runs(limit=3)] == [run.id]
            await run.cancel()
            with pytest.raises(convscope.RunCancelled):
                await run.result()
            attached = await client.attach(run.id)
            assert [event.kind async for event in attached][-1] == "cancelled"
            await client.delete(run.id)
            dream = await client.visualize("dream", detach=True, updates=[(2, {"tv": 0.5})])
            await dream.pause()
            assert (await client.pause(dream.id)).state == "paused"
            await dream.update(step_size=0.5)
            assert (await client.update(dream.id, tv=1)).updates[2] == (0, {"tv": 1})
            await dream.resume()
            assert (await client.resume(dream.id)).state == (await dream.refresh()).state == "running"
            assert [event.kind async for event in dream][1:4] == ["started", "paused", "queued"]
            assert (await client.upload(b"x")).startswith("sha256:")

    asyncio.run(use())


@pytest.mark.parametrize(
    ("one", "other"),
    [(convscope.Client, aio.AsyncClient), (convscope.Run, aio.AsyncRun)],
    ids=["client", "run"],
)
def test_both_clients_have_the_same_methods(one: type, other: type) -> None:
    only_sync = {"show"}  # A notebook cell blocks.

    def surface(kind: type) -> dict[str, Any]:
        members = {name: member for name, member in vars(kind).items() if not name.startswith("_")}
        return {
            name: str(list(inspect.signature(member).parameters)) if callable(member) else "property"
            for name, member in members.items()
            if name not in only_sync
        }

    assert surface(one) == surface(other)


@pytest.mark.parametrize("name", ["connect", "embedded"])
def test_both_ways_in_take_the_same_arguments(name: str) -> None:
    assert list(inspect.signature(getattr(convscope, name)).parameters) == list(
        inspect.signature(getattr(aio, name)).parameters
    )


def test_everything_that_is_promised_is_there() -> None:
    assert sorted(convscope.__all__) == convscope.__all__
    assert all(hasattr(convscope, name) for name in convscope.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = convscope.nothing


def test_importing_loads_neither_torch_nor_server_nor_grpc_nor_asyncio() -> None:
    unwanted = ["torch", "convscope_server", "rich", "typer", "pydantic", "grpc", "numpy", "PIL", "asyncio"]
    code = f"import sys, convscope; print([name for name in {unwanted} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
