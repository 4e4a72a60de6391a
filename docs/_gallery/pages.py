"""The gallery's pages, made when the site is built.

Words come from the plan and the technique, pictures from `make gallery`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latex2mathml.converter import convert

from _gallery.plan import Entry, read_plan
from _parameters import details, parameter_table

if TYPE_CHECKING:
    from convscope_sdk.technique import Technique

__all__ = ["PICTURES", "gallery_pages"]

PICTURES = Path(__file__).parent.parent / "gallery"
"""Where `make gallery` puts what it paints: a folder for each technique."""

_INTRO = """\
Every built-in technique, asked of a real network (EfficientNet-Lite0, trained on ImageNet) about sample photographs.
`make gallery` paints it again; each page says with which commands.
The photographs come with scikit-image and scikit-learn; `petals`, `cells` and `writing` are pieces of `flower`,
`immunohistochemistry` and `page`, and `strokes` is the picture that the model `strokes` learned its style from."""
_NETWORKS = {
    "efficientnet_lite0": "EfficientNet-Lite0, trained on ImageNet",
    "strokes": "a painter of one style, trained by `fast_style_training`",
}
_FEW = 3


def gallery_pages(techniques: Sequence[Technique[Any]]) -> dict[str, str]:
    """Markdown by path under docs/: the index, and one page for each technique of the plan that is installed."""
    by_id = {technique.id: technique for technique in techniques}
    entries = [entry for entry in read_plan().values() if entry.technique in by_id]
    pages = {f"gallery/{entry.technique}.md": _page(entry, by_id[entry.technique]) for entry in entries}
    return {"gallery/index.md": _index(entries, by_id), **pages}


def _index(entries: Sequence[Entry], techniques: Mapping[str, Technique[Any]]) -> str:
    parts = ["# Gallery", _INTRO]
    for room, inside in groupby(entries, key=lambda entry: entry.room):
        parts.append(f"## {room}")
        parts += [_teaser(entry, techniques[entry.technique]) for entry in inside]
    return "\n\n".join(parts) + "\n"


def _teaser(entry: Entry, technique: Technique[Any]) -> str:
    runs = _runs(entry.technique)
    lines = [f"### [{entry.title}]({entry.technique}.md)", technique.summary]
    given = {"input", *entry.runs[0].extra}
    for first in [picture for picture in runs[0]["pictures"] if picture["name"] not in given][:1] if runs else []:
        source = f"{entry.technique}/{first['file']}"
        lines.append(f"[![{entry.title}: {first['name']}]({source}){{ width=280 loading=lazy }}]({entry.technique}.md)")
    return "\n\n".join(lines)


def _page(entry: Entry, technique: Technique[Any]) -> str:
    parts = [
        f"# {entry.title}",
        technique.summary,
        f"*{technique.cites}*",
        *[f"<div>{convert(line, display='block')}</div>" for line in entry.formula],
        *details(technique),
        "## How to read it",
        entry.read.strip(),
        "## Pictures",
        _made_by(entry),
        *[part for run in _runs(entry.technique) for part in _shown(entry.technique, run)],
        "## Parameters",
        parameter_table(technique),
    ]
    return "\n\n".join(parts) + "\n"


def _made_by(entry: Entry) -> str:
    models = dict.fromkeys(shot.model for shot in entry.runs)
    networks = " and ".join(f"`{model}` ({_NETWORKS[model]})" for model in models)
    return f"The network is {networks}. `make gallery ONLY={entry.technique}` paints this page again."


def _runs(technique: str) -> list[dict[str, Any]]:
    file = PICTURES / technique / "runs.json"
    return list(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else []


def _shown(technique: str, run: Mapping[str, Any]) -> Iterator[str]:
    if run["caption"]:
        yield f"**{run['caption'][0].upper()}{run['caption'][1:]}**"
    yield "\n".join(_figure(technique, picture) for picture in run["pictures"])
    yield f"```console\n$ {run['command']}\n```"
    yield from _report(run)


def _figure(technique: str, picture: Mapping[str, Any]) -> str:
    """Beside the next where there is room."""
    source, width = f"{technique}/{picture['file']}", min(picture["width"], 720)
    return (
        f'<figure markdown="span" style="display: inline-block; margin: 0 1em 1em 0; vertical-align: top">\n'
        f"![{picture['name']}]({source}){{ width={width} loading=lazy }}\n"
        f'<figcaption style="max-width: {max(width, 200)}px">{picture["caption"] or picture["name"]}</figcaption>\n'
        f"</figure>"
    )


def _report(run: Mapping[str, Any]) -> Iterator[str]:
    lines = []
    if run["predictions"]:
        seen = ", ".join(f"{label} {probability:.3f}" for label, probability in run["predictions"][:_FEW])
        lines.append(f"- the network sees: {seen}")
    lines += [f"- {name}: {value:g}" for name, value in run["scores"].items()]
    lines += [f"- {note}" for note in run["notes"]]
    if lines:
        yield '??? note "What the report says"\n\n' + "\n".join(f"    {line}" for line in lines)
