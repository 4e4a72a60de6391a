"""Every field of every request, found by descriptor: too much in it is refused, and what nobody knows is ignored."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from convscope.v1 import run_pb2
from convscope.v1 import visualization_service_pb2 as pb
from convscope_server.api.server import SERVICES
from support.aio import in_loop
from support.port import Port, catalog_engine, refusal_of, serving, visualize

TEXT = "ü" * 70_000
MANY = 2_000
# What is refused for its meaning before its length is asked; the refusal must not repeat it.
ANSWERS = {"INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED"}
# Numbers, and what has no size: values out of range are rows of test_validate.
SCALARS = {FieldDescriptor.CPPTYPE_STRING, FieldDescriptor.CPPTYPE_MESSAGE}
METHODS = {f"{s.name}.{m.name}": m for s in SERVICES.values() for m in s.methods}


def sized_fields(kind: Descriptor, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Paths of the fields that can be large: texts, bytes, lists and maps, through messages of ours."""
    for field in kind.fields:
        here = (*path, field.name)
        ours = field.message_type is not None and field.message_type.full_name.startswith("convscope.")
        if field.is_repeated or field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
            yield here
        elif ours:
            yield from sized_fields(field.message_type, here)
        elif field.message_type is not None and field.message_type.name == "Struct":
            yield here


ROWS = [(rpc, path) for rpc, method in METHODS.items() for path in sized_fields(method.input_type)]


def base(method: MethodDescriptor) -> Message:
    """A request that is fine but for the field in question, as far as others are needed to get there."""
    if method.name == "Visualize":
        return visualize()
    if method.name == "SubmitRun":
        return pb.SubmitRunRequest(request=visualize())
    return GetMessageClass(method.input_type)()


def stuff(message: Any, path: tuple[str, ...]) -> None:
    """Fill a field with far too much."""
    for name in path[:-1]:
        message = getattr(message, name)
    field = message.DESCRIPTOR.fields_by_name[path[-1]]
    value = getattr(message, field.name)
    if field.message_type is not None and field.message_type.name == "Struct":
        value.update({"label": TEXT})
    elif field.is_repeated and field.message_type is not None and not field.message_type.GetOptions().map_entry:
        value.extend([field.message_type._concrete_class()] * MANY)
    elif field.is_repeated and field.message_type is not None:
        for number in range(MANY):  # every map of ours has texts for keys
            _ = value[f"{number}"] if field.message_type.fields_by_name["value"].message_type else None
            if not field.message_type.fields_by_name["value"].message_type:
                value[f"{number}"] = "x"
    elif field.is_repeated:
        value.extend(["x"] * MANY)
    else:
        setattr(message, field.name, b"x" * (3 * 2**20) if field.type == FieldDescriptor.TYPE_BYTES else TEXT)


def call(port: Port, rpc: str, message: Message) -> Any:
    method = METHODS[rpc]
    kind = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
    send = getattr(port.channel, kind)(
        f"/{method.containing_service.full_name}/{method.name}",
        request_serializer=lambda sent: sent.SerializeToString(),
        response_deserializer=GetMessageClass(method.output_type).FromString,
    )
    return send(iter([message]) if method.client_streaming else message)


@pytest.mark.parametrize("rpc", sorted({rpc for rpc, _ in ROWS}))
def test_too_much_in_any_field_is_refused_in_few_words(rpc: str, tmp_path: Path) -> None:
    async def check() -> None:
        async with serving(catalog_engine(), tmp_path) as port:
            for path in [path for name, path in ROWS if name == rpc]:
                message = base(METHODS[rpc])
                stuff(message, path)
                refusal = await refusal_of(call(port, rpc, message))
                assert (path, refusal.code in ANSWERS, len(refusal.message) < 1100) == (path, True, True)

    in_loop(check)()


def test_a_new_field_has_to_have_its_bound() -> None:
    # The rows come from the descriptors; this only makes sure that they are found.
    assert {("VisualizationService.Visualize", ("labels",)), ("ContentService.Upload", ("chunk",))} <= set(ROWS)
    assert len(ROWS) > 30


@in_loop
async def test_a_field_that_nobody_knows_is_ignored(tmp_path: Path) -> None:
    class Newer:
        """A request of a client from the future."""

        def SerializeToString(self) -> bytes:  # noqa: N802 - protobuf's name
            return visualize().SerializeToString() + bytes([0xFA, 0x7F, 2, 1, 2])

    async with serving(catalog_engine(), tmp_path) as port:
        stream = call(port, "VisualizationService.Visualize", Newer())  # type: ignore[arg-type]  # no message of this version
        first: run_pb2.RunEvent = await stream.read()
        assert first.HasField("accepted")
        stream.cancel()
