"""The reference says all there is, and nothing that is not."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from support.sources import ROOT, sources, within

REASON = re.compile(r"[A-Z]+(?:_[A-Z]+)*")
# Which argument of a call is a reason.
PLACE = {"of": 1, "invalid": 0, "Error": 2}
# "no such …" of UnknownName.among makes its reason from what it looks for.
KINDS = ("among", "unknown", "looked_up")


def _constant(node: ast.expr | None) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    return None


def _reasons_of_call(call: ast.Call) -> Iterator[str | None]:
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    yield from (_constant(keyword.value) for keyword in call.keywords if keyword.arg == "reason")
    if name in PLACE and len(call.args) > PLACE[name]:
        yield _constant(call.args[PLACE[name]])
    if name in KINDS and call.args and (kind := _constant(call.args[0])):
        yield f"{kind.upper().replace(' ', '_')}_NOT_FOUND"


def _reasons() -> Iterator[str | None]:
    for node in _nodes():
        if isinstance(node, ast.Call):
            yield from _reasons_of_call(node)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(getattr(target, "id", "") == "reason" for target in targets):
                yield _constant(node.value)


def _nodes() -> Iterator[ast.AST]:
    for source in sources():
        if not within(source.name, "convscope.testing"):
            yield from ast.walk(source.tree)


def test_every_reason_that_the_code_gives_is_in_the_reference() -> None:
    given = {reason for reason in _reasons() if reason and REASON.fullmatch(reason)}
    assert len(given) > 40
    assert sorted(given - _documented()) == []


def test_the_reference_has_no_reason_that_the_code_does_not_know() -> None:
    text = "\n".join(source.text for source in sources())
    made = {reason for reason in _reasons() if reason}
    assert sorted(reason for reason in _documented() - made if f'"{reason}"' not in text) == []


def _documented() -> set[str]:
    page = (ROOT / "docs/reference/errors.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    return {reason for row in rows for reason in re.findall(r"`([A-Z_]+)`", row)}


def test_every_message_and_call_of_the_contract_is_shown() -> None:
    page = (ROOT / "docs/reference/wire.md").read_text(encoding="utf-8")
    for proto in sorted((ROOT / "protos").rglob("*.proto")):
        assert f'--8<-- "{proto.relative_to(ROOT / "protos").as_posix()}"' in page


def test_every_key_of_a_model_file_is_in_the_reference() -> None:
    from convscope_server.models.sources.manifest import Manifest

    page = (ROOT / "docs/reference/models.md").read_text(encoding="utf-8")
    table = page.partition("## `model.toml`")[2].partition("\n## ")[0]
    assert {key for key in Manifest.model_fields if f"`{key}`" not in table} == set()
