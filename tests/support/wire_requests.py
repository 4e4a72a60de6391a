"""Requests made from the wire contract by hypothesis: every RPC, every field, at its extremes and beyond."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.struct_pb2 import Struct, Value
from hypothesis import strategies as st

from convscope.v1 import run_pb2
from convscope_server.api.convert import struct_of
from convscope_server.api.server import SERVICES
from support.pictures import ODD_PICTURES, bomb, encoded, photo, truncated

__all__ = ["LIVE", "Call", "calls", "digest_of", "garbage"]

LIVE = "5afe" * 8
"""Stands for the id of a run that has not ended; whoever sends the call puts one in its place."""

Strategy = st.SearchStrategy

_METHODS = [method for service in SERVICES.values() for method in service.methods]
_VISUALIZE = SERVICES["VisualizationService"].methods_by_name["Visualize"]
_ABOUT_RUNS = [method for method in _METHODS if "run" in method.input_type.fields_by_name]
_UPLOAD = SERVICES["ContentService"].methods_by_name["Upload"]
_CREATE_SET = SERVICES["ImageSetService"].methods_by_name["CreateImageSet"]
_PICTURES = [*(make() for make in ODD_PICTURES.values()), truncated(), bomb(), encoded(photo(), "JPEG"), b""]
_INTEGERS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}
_CLIMB = "steady.climb"
# Words that lead into the server rather than to its first refusal, by the names of fields that take them.
_TECHNIQUES = "saliency", "grad_cam", "filters", "occlusion", "activations", "nearest_neighbors", "steady.reel", _CLIMB
_WORDS = {
    "technique": (*_TECHNIQUES, "gradcam", "hostile."),
    "id": (*_TECHNIQUES, "convscope"),
    "model": ("tiny", "efficientnet_lite0", "timm:", "torchvision:resnet18", ":", "../../etc/passwd", "folder:../x"),
    "name": ("samples", "tiny", "folder:..", "torchvision:CIFAR10", "torchvision:../x", "a", "\0"),
    "device": ("cpu", "cuda:0", "meta"),
    "run": (LIVE, "0" * 32, "f" * 32),
    "request_id": ("7f2c4f0e-3a53-4c3c-9a53-1b2f3c4d5e6f", "{7f2c4f0e3a534c3c9a531b2f3c4d5e6f}", "0"),
    "page_token": ("0", "AAAA", "eyJhIjogMX0="),
}
_PARAMS = (
    "rise",
    "target",
    "layer",
    "size",
    "steps",
    "fit",
    "preset",
    "k",
    "image_set",
    "edge",
    "window",
    "stride",
    "",
    "\0",
)
_VALUES = "top1", "class:0", "0:1", "0", "last_conv", "crop", "samples", "", "\0", "class:99999999999999999999"


@dataclass(frozen=True, slots=True, repr=False)
class Call:
    """Bytes for one RPC: one message, or several where it takes a stream."""

    method: MethodDescriptor
    messages: tuple[bytes, ...]
    principal: str

    def __repr__(self) -> str:
        return f"Call({self.method.name}, {self.principal}, {str(self.messages)[:400]})"

    @property
    def path(self) -> str:
        return f"/{self.method.containing_service.full_name}/{self.method.name}"


def calls() -> Strategy[Call]:
    """Any RPC with anything, and some that are nearly right."""
    anything = st.sampled_from(_METHODS).flatmap(lambda method: _call(method, _bytes_of(method.input_type)))
    odd = _call(_VISUALIZE, _nearly_right().map(lambda request: request.SerializeToString()))
    return st.one_of(anything, odd, _whole_uploads(), _call(_CREATE_SET, _set_requests()), _about_a_live_run())


def digest_of(content: bytes) -> str:
    """The name of a file."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def garbage() -> Strategy[bytes]:
    """What no HTTP/2 client says: noise, and frames in any order and of any length."""
    frames = st.lists(_frames(), max_size=12).map(b"".join)
    preface = st.just(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    return st.one_of(st.binary(max_size=200), st.tuples(preface, frames).map(b"".join), frames)


def _call(method: MethodDescriptor, message: Strategy[bytes]) -> Strategy[Call]:
    messages = st.lists(message, max_size=3) if method.client_streaming else st.tuples(message)
    # Mostly the admin, who gets furthest.
    who = st.sampled_from(("root", "root", "root", "ada", "nobody", ""))
    return st.builds(lambda sent, principal: Call(method, tuple(sent), principal), messages, who)


def _bytes_of(kind: Descriptor) -> Strategy[bytes]:
    """A serialised message, now and then with fields that nobody knows, or broken off, or no message at all."""
    whole = _messages(kind).map(lambda message: message.SerializeToString())
    odd = st.tuples(whole, st.binary(max_size=20), st.integers(0, 3))
    unknown = bytes([0xFA, 0x7F, 2, 1, 2])  # field 2047, two bytes
    ways = (lambda b, _: b, lambda b, _: b + unknown, lambda b, x: b[: len(x)], lambda b, x: b + x)
    return st.one_of(whole, odd.map(lambda parts: ways[parts[2]](parts[0], parts[1])), st.integers(1, 400).map(_nested))


def _nested(levels: int) -> bytes:
    """Parameters nested deeper than protobuf itself would make them."""
    value = b""
    for _ in range(levels):
        value = _part(6, _part(1, value))  # Value.list_value, ListValue.values
    return _part(4, _part(1, _part(1, b"target") + _part(2, value)))  # VisualizeRequest.params


def _part(field: int, content: bytes) -> bytes:
    length, rest = b"", len(content)
    while rest > 127:
        length, rest = length + bytes([rest % 128 + 128]), rest // 128
    return bytes([field << 3 | 2]) + length + bytes([rest]) + content


def _messages(kind: Descriptor, depth: int = 0) -> Strategy[Message]:
    if kind.full_name == Struct.DESCRIPTOR.full_name:
        return _structs()
    fields = [field for field in kind.fields if depth < 3 or field.message_type is None]
    chosen = {field.name: _field(field, depth) for field in fields}
    some = st.fixed_dictionaries({}, optional=chosen)
    return some.map(lambda values: _filled(GetMessageClass(kind)(), values))


def _filled(message: Message, values: dict[str, Any]) -> Message:
    for name, value in values.items():
        field = message.DESCRIPTOR.fields_by_name[name]
        target = getattr(message, name)
        if _is_map(field) and field.message_type.fields_by_name["value"].message_type:
            for key, item in value.items():
                target[key].CopyFrom(item)
        elif _is_map(field):
            target.update(value)
        elif field.is_repeated:
            target.extend(value)
        elif field.message_type:
            target.CopyFrom(value)
        else:
            setattr(message, name, value)
    return message


def _field(field: FieldDescriptor, depth: int) -> Strategy[Any]:
    if _is_map(field):
        key, value = (field.message_type.fields_by_name[part] for part in ("key", "value"))
        return st.dictionaries(_scalar(key), _single(value, depth), max_size=3)
    single = _single(field, depth)
    return st.lists(single, max_size=3) if field.is_repeated else single


def _single(field: FieldDescriptor, depth: int) -> Strategy[Any]:
    return _messages(field.message_type, depth + 1) if field.message_type else _scalar(field)


def _scalar(field: FieldDescriptor) -> Strategy[Any]:
    kind = field.cpp_type
    if kind in _INTEGERS:
        low, high = _INTEGERS[kind]
        return st.one_of(st.sampled_from((low, high, 0, 1)), st.integers(low, high))
    if kind == FieldDescriptor.CPPTYPE_ENUM:
        numbers = [value.number for value in field.enum_type.values]
        return st.one_of(st.sampled_from(numbers), st.integers(-(2**31), 2**31 - 1))
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return st.booleans()
    if field.type == FieldDescriptor.TYPE_BYTES:
        return _pictures()
    if kind == FieldDescriptor.CPPTYPE_STRING:
        return _strings(field.name)
    return st.floats()


def _strings(name: str) -> Strategy[str]:
    words = _WORDS.get(name, ())
    if "digest" in name or name == "manifest":
        words = tuple(digest_of(picture) for picture in _PICTURES)
    long = st.integers(1, 70_000).map(lambda count: "ü" * count)
    text = st.one_of(st.text(st.characters(codec="utf-8"), max_size=20), long)
    return st.one_of(st.sampled_from(words), text) if words else text


def _pictures() -> Strategy[bytes]:
    """Odd pictures as they are, with some bytes changed, and cut short."""
    changes = st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=6)

    def spoilt(picture: bytes, changed: list[tuple[int, int]], kept: float) -> bytes:
        data = bytearray(picture)
        for place, byte in changed:
            if data:
                data[place % len(data)] = byte
        return bytes(data[: max(1, int(len(data) * kept))])

    picture = st.sampled_from(_PICTURES)
    kept = st.sampled_from((1.0, 1.0, 0.9, 0.5, 0.01))
    return st.one_of(picture, st.builds(spoilt, picture, changes, kept), st.binary(max_size=200))


def _structs() -> Strategy[Struct]:
    leaf = st.one_of(
        st.none(), st.booleans(), st.floats(), st.sampled_from((-1, 0, 1, 3, 64, 1e9)), st.sampled_from(_VALUES)
    )
    tree = st.recursive(
        leaf, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner))
    )
    flat = st.dictionaries(st.sampled_from(_PARAMS), tree, max_size=4).map(struct_of)
    return st.one_of(flat, st.integers(1, 40).map(_deep))


def _deep(levels: int) -> Struct:
    struct = Struct()
    value: Value = struct.fields["target"]
    for _ in range(levels):
        value = value.list_value.values.add()
    return struct


def _nearly_right() -> Strategy[run_pb2.VisualizeRequest]:
    """A request that would be accepted, with an odd picture, odd parameters, odd changes on the way, or all of them."""

    def request(technique: str, picture: bytes, params: Struct, updates: list[Message]) -> run_pb2.VisualizeRequest:
        made = run_pb2.VisualizeRequest(technique=technique, model="tiny", params=params, updates=updates)
        made.image.encoded = picture
        made.deadline.seconds = 5
        return made

    techniques = st.sampled_from((*_TECHNIQUES, *[_CLIMB] * 4))
    update = st.builds(run_pb2.Update, step=st.integers(0, 25), params=_changes())
    updates = st.lists(update, max_size=3).map(lambda found: sorted(found, key=lambda one: one.step))
    return st.builds(
        request,
        techniques,
        _pictures(),
        st.one_of(st.just(Struct()), _structs()),
        st.one_of(st.just([]), updates, st.lists(_messages(run_pb2.Update.DESCRIPTOR), max_size=3)),
    )


def _changes() -> Strategy[Struct]:
    """Changes of a climb on the way, most of them such as it takes."""
    rises = st.one_of(st.sampled_from((0.5, 1, 3, 100)), st.floats()).map(lambda rise: struct_of({"rise": rise}))
    return st.one_of(rises, rises, _structs())


def _about_a_live_run() -> Strategy[Call]:
    """It is looked at, watched, paused, resumed, changed, cancelled."""

    def about(method: MethodDescriptor) -> Strategy[Call]:
        def asked(message: Any, changes: Struct) -> bytes:
            message.run = LIVE
            if "params" in message.DESCRIPTOR.fields_by_name:
                message.params.CopyFrom(changes)
            return bytes(message.SerializeToString())

        return _call(method, st.builds(asked, _messages(method.input_type), _changes()))

    return st.sampled_from(_ABOUT_RUNS).flatmap(about)


def _whole_uploads() -> Strategy[Call]:
    """Files whose digest is right: pictures, and lists of pictures that may be anything."""
    member = st.fixed_dictionaries(
        {},
        optional={
            "name": st.one_of(st.text(max_size=5), st.sampled_from(("a.png", "../a", "/etc/passwd"))),
            "digest": _strings("digest"),
            "labels": st.dictionaries(st.text(max_size=3), st.one_of(st.text(max_size=3), st.integers()), max_size=2),
        },
    )
    document = st.fixed_dictionaries({}, optional={"members": st.one_of(st.lists(member, max_size=3), st.integers())})
    file = st.one_of(_pictures(), document.map(lambda found: json.dumps(found).encode()))
    messages = file.map(lambda data: GetMessageClass(_UPLOAD.input_type)(digest=digest_of(data), chunk=data))
    return messages.map(lambda message: Call(_UPLOAD, (message.SerializeToString(),), "root"))


def _set_requests() -> Strategy[bytes]:
    kind = GetMessageClass(_CREATE_SET.input_type)
    manifest = json.dumps({"members": [{"name": "a.png", "digest": digest_of(_PICTURES[0])}]}).encode()
    digests = st.one_of(st.just(digest_of(manifest)), _strings("manifest"))
    made = st.builds(lambda name, digest: kind(name=name, manifest=digest, replace=True), _strings("name"), digests)
    return made.map(lambda request: request.SerializeToString())


def _frames() -> Strategy[bytes]:
    """HTTP/2 frames: nine bytes of header, which may lie about the payload behind them."""

    def frame(kind: int, flags: int, stream: int, payload: bytes, lie: int) -> bytes:
        length = (len(payload) + lie) % 2**24
        return length.to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload

    lies = st.sampled_from((0, 0, 0, 1, 2**24 - 1))
    return st.builds(
        frame, st.integers(0, 12), st.integers(0, 255), st.integers(0, 2**32 - 1), st.binary(max_size=40), lies
    )


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry
