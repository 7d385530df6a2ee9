"""The look of every page the lab writes: one self-contained HTML document, readable narrow, wide, dark and on paper.

Promises no script and nothing fetched from anywhere. Colours are variables, so that drawings follow the reader's scheme; in
both schemes text has at least 4.5 times the luminance of what is behind it, or the other way round.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

NODE_CLASSES = 6  # n0 to n5

_LIGHT = """
--paper:#fff; --wash:#f5f6f8; --line:#dfe3e8; --ink:#1b2430; --soft:#566172; --good:#0f6b41; --bad:#b3211a; --warn:#9a5b00;
--warnfill:#e8890c; --good-wash:#e8f5ee; --bad-wash:#fdecea; --warn-wash:#fdf3e2; --fault:#566172; --link:#1f55c0;
--n0:#2f63c8; --n1:#0b8474; --n2:#7d48b8; --n3:#9c6610; --n4:#477328; --n5:#a03a74
"""
_DARK = """
--paper:#12161c; --wash:#1b2129; --line:#313a46; --ink:#e6eaf0; --soft:#a3aebd; --good:#56cf94; --bad:#ff8a80; --warn:#f0b45a;
--warnfill:#e89a3c; --good-wash:#12291f; --bad-wash:#361a19; --warn-wash:#33260f; --fault:#a3aebd; --link:#8db4ff;
--n0:#7aa5f5; --n1:#3fc4b1; --n2:#bd93ea; --n3:#dba545; --n4:#93c46c; --n5:#e58abd
"""
STYLE = f"""
:root {{ color-scheme: light dark; {_LIGHT} }}
@media (prefers-color-scheme: dark) {{ :root {{ {_DARK} }} }}
@media print {{ :root {{ color-scheme: light; {_LIGHT} }} }}
* {{ box-sizing: border-box }}
body {{ margin: 0 auto; max-width: 1320px; padding: 28px clamp(14px, 3vw, 40px) 60px; background: var(--paper); color: var(--ink);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", "Liberation Sans", "DejaVu Sans", sans-serif }}
h1 {{ font-size: clamp(24px, 4vw, 36px); line-height: 1.15; letter-spacing: -.015em; margin: 2px 0 10px; text-wrap: balance }}
h2 {{ font-size: 20px; letter-spacing: -.01em; margin: 46px 0 6px }}
h3 {{ font-size: 15px; margin: 0 }}
p {{ margin: 6px 0; max-width: 78ch }}
a {{ color: var(--link) }}
a:focus-visible, [tabindex]:focus-visible {{ outline: 2px solid var(--link); outline-offset: 2px }}

.soft {{ color: var(--soft) }} .good {{ color: var(--good) }} .bad {{ color: var(--bad) }} .warn {{ color: var(--warn) }}
.verdict {{ border-left: 6px solid; padding: 4px 0 6px 18px; margin: 8px 0 20px }}
.verdict.good {{ border-color: var(--good) }} .verdict.bad {{ border-color: var(--bad) }}
.verdict p {{ color: var(--ink) }} .verdict .over-title {{ color: var(--soft); font-weight: 600; font-size: 13px; margin: 0 }}
.tiles {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(min(44%, 200px), 1fr)); gap: 10px; margin: 12px 0 }}
.tile {{ background: var(--wash); border-radius: 8px; padding: 10px 14px }}
.tile b {{ display: block; font-size: 22px; letter-spacing: -.01em; font-variant-numeric: tabular-nums }}
.tile span {{ color: var(--soft); font-size: 13px }}
.scroll {{ overflow-x: auto; margin: 10px 0 }}
table {{ border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 14px }}
th {{ color: var(--soft); font-weight: 600; text-align: left; vertical-align: bottom }}
td, th {{ padding: 6px 12px 6px 0; border-bottom: 1px solid var(--line) }}
td {{ vertical-align: top }} td:first-child {{ white-space: nowrap }}
.num {{ text-align: right }} td.num {{ white-space: nowrap }}
code, pre {{ font: 13px/1.5 ui-monospace, "Liberation Mono", "DejaVu Sans Mono", monospace; background: var(--wash); border-radius: 5px }}
code {{ padding: 1px 5px; overflow-wrap: anywhere }}
pre {{ padding: 12px 14px; overflow-x: auto; white-space: pre-wrap; overflow-wrap: anywhere }}
.badge {{ display: inline-block; border-radius: 20px; padding: 0 9px; font-size: 12.5px; font-weight: 600; white-space: nowrap }}
.badge.good {{ background: var(--good-wash) }} .badge.bad {{ background: var(--bad-wash) }} .badge.warn {{ background: var(--warn-wash) }}
dl {{ display: grid; grid-template-columns: max-content 1fr; gap: 3px 18px; margin: 8px 0 }}
dt {{ color: var(--soft) }} dd {{ margin: 0; overflow-wrap: anywhere }}
ul {{ padding-left: 20px; margin: 6px 0 }}
svg text {{ font: 11px system-ui, "Liberation Sans", sans-serif; fill: var(--soft) }}
.ok-dot {{ fill: var(--n0) }} .over-dot {{ fill: var(--warnfill) }} .dual-bar {{ fill: var(--bad); fill-opacity: .35 }}
.grid-line {{ stroke: var(--line) }}
@media (max-width: 560px) {{ dl {{ grid-template-columns: 1fr; gap: 0 }} dd {{ margin-bottom: 6px }} td, th {{ padding-right: 9px }} }}
@media print {{ body {{ padding: 0; font-size: 11px }} .scroll {{ overflow: visible }} h2 {{ break-after: avoid }} tr {{ break-inside: avoid }} }}
"""


def document(title: str, body: Iterable[str], style: str = "") -> str:
    """Return the whole page; ``body`` is markup, ``title`` is not."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<link rel="icon" href="data:,">\n<title>{escape(title)}</title>\n<style>{STYLE}{style}</style>\n</head>\n'
        f"<body>\n{''.join(body)}</body>\n</html>\n"
    )


def verdict(over: str, words: str, below: str, *, good: bool) -> str:
    """Return the top of a page: what it is about, the sentence that matters, what that rests on."""
    return (
        f'<header class="verdict {"good" if good else "bad"}"><p class="over-title">{escape(over)}</p>'
        f"<h1>{escape(words[:1].upper() + words[1:])}</h1><p>{escape(below)}</p></header>\n"
    )


def tiles(facts: Iterable[tuple[str, str, str]]) -> str:
    """Return numbers to be seen first: (number, what it is, class or "")."""
    made = "".join(
        f'<div class="tile"><b class="{kind}">{escape(number)}</b><span>{escape(what)}</span></div>'
        for number, what, kind in facts
    )
    return f'<div class="tiles">{made}</div>\n'


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], numeric: Iterable[str], label: str) -> str:
    """Return a table that scrolls sideways by itself; the cells of ``rows`` are markup, ``columns`` are not."""
    right = set(numeric)
    kinds = [' class="num"' if column in right else "" for column in columns]
    head = "".join(f'<th scope="col"{kind}>{escape(c)}</th>' for c, kind in zip(columns, kinds, strict=True))
    lines = "".join(
        "<tr>" + "".join(f"<td{kind}>{cell}</td>" for cell, kind in zip(row, kinds, strict=True)) + "</tr>\n"
        for row in rows
    )
    region = f'role="region" aria-label="{escape(label, quote=True)}" tabindex="0"'
    return f'<div class="scroll" {region}><table><thead><tr>{head}</tr></thead><tbody>\n{lines}</tbody></table></div>\n'


def badge(words: str, kind: str) -> str:
    """Return a short verdict: ``kind`` is good, warn or bad; the words say it without the colour."""
    return f'<span class="badge {kind}">{escape(words)}</span>'


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Return a list of names and values."""
    made = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in pairs)
    return f"<dl>{made}</dl>\n"
