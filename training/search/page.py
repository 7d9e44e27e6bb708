"""Two pages: what was said of a folder, and off-topic results to reject by hand."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from likewise.study import Study
from likewise.whole import write_bytes
from training.pictures.thumbnails import decoded, encode, square

if TYPE_CHECKING:
    from training.search.results import Rates, Said
    from training.search.strangers import Strangers

__all__ = ["doubts_page", "results_page", "write_page"]

SHOWN = 240
"""Pictures on the page of doubtful ones: the least alike first, who go on until they are fine."""
SIDE = 160

STYLE = """
:root{color-scheme:light dark;--ink:#1d2125;--quiet:#5b6168;--line:#d5d8dc;--paper:#fafbfb;
--card:#fff;--mark:#a33}
@media(prefers-color-scheme:dark){:root{--ink:#e6e8ea;--quiet:#9aa1a8;--line:#3a4046;
--paper:#16191c;--card:#1f2327;--mark:#f08a7a}}
body{margin:24px auto;max-width:1200px;padding:0 16px;font:15px/1.5 system-ui,sans-serif;
color:var(--ink);background:var(--paper)}
h1{font-size:24px;margin:0 0 8px}h2{font-size:18px;margin:28px 0 8px}
table{border-collapse:collapse}td,th{padding:4px 14px 4px 0;text-align:left;
border-bottom:1px solid var(--line);vertical-align:top}th{font-weight:600}
.quiet{color:var(--quiet)}.sheet{display:grid;gap:12px;
grid-template-columns:repeat(auto-fill,minmax(340px,1fr))}
.sheet.small{grid-template-columns:repeat(auto-fill,minmax(168px,1fr))}
figure{margin:0;padding:8px;border:1px solid var(--line);border-radius:6px;background:var(--card)}
figure .three{display:grid;grid-template-columns:repeat(3,1fr);gap:4px}
figure img{width:100%;aspect-ratio:1;object-fit:contain;background:#0001}
figcaption{overflow-wrap:anywhere;font-size:13px}.wrong{color:var(--mark)}
label{display:block;cursor:pointer}input:checked~img{opacity:.25}
.bar{position:sticky;top:0;padding:8px 0;background:var(--paper);z-index:1}
button{font:inherit;padding:4px 12px}svg{max-width:100%;height:auto}
"""


def write_page(path: Path, html: str) -> Path:
    """Write the page whole; returns its path."""
    write_bytes(path, html.encode())
    return path


def _document(title: str, body: str, *, script: str = "") -> str:
    scripts = "script-src 'unsafe-inline'; " if script else ""
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width,initial-scale=1'>"
        "<meta http-equiv='Content-Security-Policy' content=\"default-src 'none'; "
        f"img-src 'self' file: data:; {scripts}style-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>"
        f"<h1>{escape(title)}</h1>{body}{script}</body></html>\n"
    )


def results_page(
    title: str,
    rows: Sequence[Said],
    drawn: Mapping[str, tuple[str, str, str]],
    rates: Sequence[Rates],
    notes: Sequence[str],
    card: Mapping[str, Any],
) -> str:
    """Rates beside the paper's, the curve, and every answered picture with its overlay."""
    parts = [_rates(one) for one in rates]
    if not rates:
        parts.append(
            "<p class='quiet'>No picture here has a known class, so nothing is known of how often "
            "this is right: name the folder's folders after the classes.</p>"
        )
    parts += [f"<p class='quiet'>{escape(line)}</p>" for line in notes]
    parts.append(_about(card))
    answered = sorted((one for one in rows if one.answered), key=lambda one: -one.probability)
    parts.append(f"<h2>Above the threshold: {len(answered):,} of {len(rows):,}</h2>")
    parts.append(
        "<p class='quiet'>Original, what the answer rests on (Grad-CAM), and the part above half "
        "of the largest heat.</p>"
    )
    figures = "".join(_figure(one, drawn[one.name]) for one in answered)
    parts.append(f"<div class='sheet'>{figures}</div>")
    silent = [one for one in rows if not one.answered]
    if silent:
        lines = "".join(
            f"<tr><td>{escape(one.name)}</td><td>{escape(_answer(one))}</td></tr>" for one in silent
        )
        parts.append(f"<h2>No answer: {len(silent):,}</h2><table>{lines}</table>")
    return _document(title, "".join(parts))


def _answer(one: Said) -> str:
    if one.error:
        return f"not a picture: {one.error}"
    return f"rather {one.said}, {_sure(one)}"


def _sure(one: Said) -> str:
    """Cut, not rounded: what was left unsaid below 0.99999 must not read 1.0000."""
    return f"{math.floor(one.probability * 1e4) / 1e4:.4f}"


def _figure(one: Said, places: tuple[str, str, str]) -> str:
    wrong = one.truth is not None and one.truth != one.said
    images = "".join(
        f"<img loading='lazy' alt='{kind} of {escape(one.name)}' src='{quote(place)}'>"
        for kind, place in zip(("original", "overlay", "segment"), places, strict=True)
    )
    truth = f" <span class='wrong'>is {escape(one.truth or '')}</span>" if wrong else ""
    return (
        f"<figure><div class='three'>{images}</div><figcaption>{escape(one.said or '')} "
        f"{_sure(one)}{truth}<br><span class='quiet'>{escape(one.name)}</span>"
        "</figcaption></figure>"
    )


def _rates(rates: Rates) -> str:
    lines = "".join(
        f"<tr><td>{escape(name)}</td><td>{escape(theirs)}</td><td>{escape(ours)}</td></tr>"
        for name, theirs, ours in rates.rows()
    )
    return (
        f"<h2>{escape(rates.of)}</h2><table><tr><th></th><th>paper 5 (cats and dogs, 0.99)</th>"
        f"<th>here, threshold {rates.threshold:.15g}</th></tr>{lines}</table>{_curve(rates)}"
    )


def _curve(rates: Rates) -> str:
    """Accuracy of the answered against the share that is answered, over all thresholds."""
    points = [(coverage, accuracy) for _, coverage, accuracy in rates.curve]
    if len(points) < 2:
        return ""
    low = min(0.95, *(accuracy for _, accuracy in points))
    wide, high, left, top = 520, 220, 52, 12

    def place(coverage: float, accuracy: float) -> str:
        y = top + (1 - (accuracy - low) / max(1 - low, 1e-9)) * high
        return f"{left + coverage * wide:.1f},{y:.1f}"

    path = " ".join(place(c, a) for c, a in points)
    at = place(rates.coverage, rates.answered.value) if rates.answered.of else None
    mark = (
        ""
        if at is None
        else (f"<circle cx='{at.split(',')[0]}' cy='{at.split(',')[1]}' r='5' fill='var(--mark)'/>")
    )
    ticks = "".join(
        f"<text x='{left - 8}' y='{top + (1 - share) * high + 4:.0f}' text-anchor='end' "
        f"fill='currentColor' font-size='12'>{low + share * (1 - low):.1%}</text>"
        for share in (0, 0.5, 1)
    ) + "".join(
        f"<text x='{left + share * wide:.0f}' y='{top + high + 18}' text-anchor='middle' "
        f"fill='currentColor' font-size='12'>{share:.0%}</text>"
        for share in (0, 0.25, 0.5, 0.75, 1)
    )
    return (
        f"<svg role='img' aria-label='accuracy against coverage' viewBox='0 0 {left + wide + 24} "
        f"{top + high + 44}' width='{left + wide + 24}'>"
        f"<path d='M{left},{top}V{top + high}H{left + wide}' fill='none' stroke='currentColor'/>"
        f"<polyline points='{path}' fill='none' stroke='currentColor' stroke-width='2'/>{mark}"
        f"{ticks}<text x='{left + wide / 2}' y='{top + high + 38}' text-anchor='middle' "
        "fill='currentColor' font-size='12'>share answered; the dot is the threshold, upwards: "
        "right of those answered</text></svg>"
    )


def _about(card: Mapping[str, Any]) -> str:
    licences = ", ".join(f"{n} ({c:,})" for n, c in dict(card.get("licences") or {}).items())
    lines = {
        "model": f"{card['backbone']} {card['layer']}, {card['classifier']}",
        "trained": card.get("trained_at"),
        "training pictures": licences and f"licences: {licences}; makers in ATTRIBUTION.md",
        "augmentation": card.get("augmentation"),
    }
    rows = "".join(
        f"<tr><td>{escape(k)}</td><td>{escape(str(v))}</td></tr>" for k, v in lines.items() if v
    )
    return f"<h2>The model</h2><table>{rows}</table>"


_SCRIPT = """<script>
const boxes=[...document.querySelectorAll('input')],count=document.getElementById('count');
const key='reject '+location.pathname;
const saved=new Set(JSON.parse(localStorage.getItem(key)||'[]'));
const tell=()=>{const on=boxes.filter(b=>b.checked).map(b=>b.value);
localStorage.setItem(key,JSON.stringify(on));count.textContent=on.length+' rejected';return on};
boxes.forEach(b=>{b.checked=saved.has(b.value);b.addEventListener('change',tell)});tell();
document.getElementById('save').addEventListener('click',()=>{
const text='picture_id\\n'+tell().join('\\n')+'\\n';
const a=document.createElement('a');a.href=URL.createObjectURL(new Blob([text],{type:'text/csv'}));
a.download='rejected.csv';a.click();URL.revokeObjectURL(a.href)});
</script>"""


def doubts_page(
    study: Study,
    found: Strangers,
    ids: Sequence[str],
    labels: Sequence[str],
    margins: Sequence[float],
) -> str:
    """The least alike pictures, to be ticked by hand; the list feeds ``clean-labels --reject``."""
    shown = [*zip(ids, labels, margins, strict=True)][:SHOWN]
    small = {
        picture: "data:image/webp;base64," + base64.b64encode(encode(square(rgb, SIDE))).decode()
        for picture, rgb in decoded(study, {picture: SIDE for picture, _, _ in shown})
    }
    figures = "".join(
        f"<figure><label><input type='checkbox' value='{picture}'> {escape(label)} "
        f"<span class='{'wrong' if margin <= 0 else 'quiet'}'>{margin:+.3f}</span>"
        f"<img loading='lazy' alt='{escape(label)}' src='{small[picture]}'></label></figure>"
        for picture, label, margin in shown
        if picture in small
    )
    classes = "; ".join(f"{name}: {out} of {of}" for name, out, of in found.by_class)
    body = (
        f"<p>{escape(found.sentence())}.</p><p class='quiet'>Disowned by class: {escape(classes)}. "
        f"The {len(shown)} least alike of {len(ids):,} follow; below 0 a picture is disowned. "
        "Tick what does not show its class, save the list, then: likewise classify clean-labels "
        f"{escape(study.root.name)} --reject rejected.csv</p>"
        "<div class='bar'><button id='save'>Save rejected.csv</button> <span id='count'></span>"
        f"</div><div class='sheet small'>{figures}</div>"
    )
    return _document(f"{study.config.study.name}: off topic?", body, script=_SCRIPT)
