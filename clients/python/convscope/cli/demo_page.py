"""The demo's contact sheet: one page of HTML beside its pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from string import Template
from urllib.parse import quote

from convscope.events import Prediction

__all__ = ["Picture", "Sheet", "page"]


@dataclass(frozen=True, slots=True)
class Picture:
    """A file beside the page, and its caption."""

    path: str
    caption: str


@dataclass(frozen=True, slots=True)
class Sheet:
    """One run on the page; `error` says why it has no pictures."""

    technique: str
    subject: str
    summary: str
    cites: str
    command: str
    seconds: float = 0.0
    pictures: Sequence[Picture] = ()
    params: Mapping[str, object] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)
    predictions: Sequence[Prediction] = ()
    notes: Sequence[str] = ()
    error: str = ""


def page(sheets: Sequence[Sheet], *, model: str, seconds: float) -> str:
    """The whole page; nothing in it comes from anywhere else."""
    techniques = dict.fromkeys(sheet.technique for sheet in sheets)
    links = " ".join(f'<a href="#{escape(name)}">{escape(name)}</a>' for name in techniques)
    sections = "".join(_section(name, [s for s in sheets if s.technique == name]) for name in techniques)
    facts = f"{len(sheets)} runs on <code>{escape(model)}</code> in {seconds:.0f} s"
    return _PAGE.substitute(style=_STYLE, facts=facts, links=links, sections=sections)


def _section(technique: str, sheets: Sequence[Sheet]) -> str:
    first = sheets[0]
    cites = f'<p class="cites">{escape(first.cites)}</p>' if first.cites else ""
    runs = "".join(_run(sheet) for sheet in sheets)
    name = escape(technique)
    return f'<section id="{name}"><h2>{name}</h2><p class="lead">{escape(first.summary)}</p>{cites}{runs}</section>'


def _run(sheet: Sheet) -> str:
    heading = f"<h3>{escape(sheet.subject)} <small>{sheet.seconds:.1f} s</small></h3>" if sheet.subject else ""
    if sheet.error:
        return f'<article>{heading}<p class="error">{escape(sheet.error)}</p></article>'
    figures = "".join(_figure(picture) for picture in sheet.pictures)
    facts = "".join(
        (
            _predictions(sheet.predictions),
            _table("Scores", {name: f"{value:.6g}" for name, value in sheet.scores.items()}),
            _table("Parameters", {name: _short(value) for name, value in sheet.params.items()}),
        )
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in sheet.notes)
    return (
        f'<article>{heading}<div class="strip">{figures}</div>'
        f'{f"<ul>{notes}</ul>" if notes else ""}<div class="facts">{facts}</div>'
        f"<pre>{escape(sheet.command)}</pre></article>"
    )


def _figure(picture: Picture) -> str:
    source, caption = quote(picture.path), escape(picture.caption)
    image = f'<img src="{source}" alt="{caption}" loading="lazy">'
    return f'<figure><a href="{source}">{image}</a><figcaption>{caption}</figcaption></figure>'


def _predictions(predictions: Sequence[Prediction]) -> str:
    if not predictions:
        return ""
    rows = "".join(
        f"<tr><td>{escape(p.label)}</td><td>{p.probability:.1%}</td>"
        f'<td class="bar"><i style="width:{100 * p.probability:.1f}%"></i></td></tr>'
        for p in predictions
    )
    return f"<table><caption>What it sees</caption>{rows}</table>"


def _table(caption: str, values: Mapping[str, str]) -> str:
    if not values:
        return ""
    rows = "".join(f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in values.items())
    return f"<table><caption>{caption}</caption>{rows}</table>"


def _short(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else "default" if value is None else str(value)


_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>convscope: what a convolutional network sees</title>
<style>$style</style>
</head>
<body>
<header>
<h1>What a convolutional network sees</h1>
<p>$facts. Every picture was asked for over gRPC and made on this machine; click one for its full size.</p>
<nav>$links</nav>
</header>
<main>$sections</main>
<footer><p>Made by <code>convscope demo</code>. The photographs are scikit-image's.</p></footer>
</body>
</html>
""")

_STYLE = """
:root { color-scheme: light dark; --paper: #faf9f7; --ink: #1d1d1f; --faint: #6d6a66; --line: #e2ded8; --card: #fff;
  --accent: #b4501e; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #151517; --ink: #ececec; --faint: #98958f; --line: #2d2d31; --card: #1d1d20; --accent: #f0925a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, sans-serif; }
header, main, footer { max-width: 76rem; margin: 0 auto; padding: 0 1.5rem; }
header { padding-top: 4rem; }
h1 { font-size: clamp(2rem, 5vw, 3.2rem); line-height: 1.1; letter-spacing: -0.03em; margin: 0 0 1rem;
  text-wrap: balance; }
header p { color: var(--faint); max-width: 44rem; margin: 0; }
nav { display: flex; flex-wrap: wrap; gap: .5rem; margin: 1.5rem 0 0; }
nav a { border: 1px solid var(--line); border-radius: 2rem; padding: .2rem .9rem; color: inherit;
  text-decoration: none; }
nav a:hover { border-color: var(--accent); color: var(--accent); }
section { margin: 4rem 0; padding-top: 1.5rem; border-top: 1px solid var(--line); }
h2 { font: 600 1.6rem/1.2 ui-monospace, monospace; letter-spacing: -0.02em; margin: 0; }
.lead { font-size: 1.1rem; max-width: 48rem; margin: .4rem 0 0; }
.cites { color: var(--faint); font-size: .9rem; margin: .2rem 0 0; }
article { margin: 1.5rem 0; padding: 1.25rem; background: var(--card); border: 1px solid var(--line);
  border-radius: 14px; }
h3 { margin: 0 0 .8rem; font-size: 1rem; }
small { color: var(--faint); font-weight: 400; margin-left: .5rem; }
.strip { display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: 1rem; align-items: start; }
figure { margin: 0; }
figure img { width: 100%; height: auto; display: block; border-radius: 8px; background: var(--line); }
figcaption { color: var(--faint); font-size: .82rem; padding-top: .4rem; }
ul { color: var(--faint); font-size: .88rem; margin: 1rem 0 0; padding-left: 1.1rem; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(15rem, 1fr)); gap: 1.5rem; margin-top: 1rem; }
table { border-collapse: collapse; width: 100%; font-size: .85rem; align-self: start; }
caption { text-align: left; font-weight: 600; padding-bottom: .2rem; }
td { padding: .15rem .6rem .15rem 0; border-top: 1px solid var(--line); overflow-wrap: anywhere; }
td + td { text-align: right; font-variant-numeric: tabular-nums; padding-right: 0; }
.bar { width: 6rem; padding-left: .6rem; }
.bar i { display: block; height: .5rem; border-radius: .25rem; background: var(--accent); min-width: 2px; }
pre { margin: 1rem 0 0; padding: .6rem .8rem; background: var(--paper); border-radius: 8px; overflow-x: auto;
  font-size: .8rem; }
.error { color: var(--accent); margin: 0; }
footer { color: var(--faint); font-size: .85rem; padding-bottom: 4rem; }
"""
