"""A diagnosis as one self-contained HTML page: no script, nothing loaded, all text escaped."""

from __future__ import annotations

import base64
import io
import math
from html import escape

from PIL import Image
from torch import Tensor

from quickstudy.apps.doctor.diagnosis import Diagnosis
from quickstudy.diagnostics.finding import Finding, Skipped

__all__ = ["page_html"]

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --warn: #c2410c; --fine: #15803d; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: 0; } h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; }
.about { margin: 0 0 1rem; opacity: .75; }
.box { border-left: 4px solid var(--warn); background: var(--soft); padding: .6rem 1rem; }
.box.fine { border-color: var(--fine); }
.box p { margin: .3rem 0; }
table { border-collapse: collapse; table-layout: fixed; width: 100%; }
th:first-child { width: 26%; } th:nth-child(2) { width: 24%; }
th, td { text-align: left; vertical-align: top; padding: .4rem .6rem; }
tr + tr td, thead th { border-bottom: 1px solid var(--line); }
td:nth-child(2) { font-variant-numeric: tabular-nums; }
.mark { display: inline-block; width: .7rem; height: .7rem; border-radius: 50%; }
.warning .mark { background: var(--warn); } .fine .mark { background: var(--fine); }
.information .mark { border: 2px solid var(--line); width: .45rem; height: .45rem; }
.small { font-size: .85rem; opacity: .8; }
figure { display: inline-block; margin: .5rem 1rem .5rem 0; text-align: center; }
figure img { height: 84px; min-width: 84px; image-rendering: pixelated; }
figure img { border: 1px solid var(--line); }
svg { max-width: 30rem; display: block; }
"""

WIDTH, HEIGHT, LEFT, BOTTOM = 480, 240, 46, 34


def page_html(diagnosis: Diagnosis) -> str:
    """The page."""
    title = f"Diagnosis of {diagnosis.run}"
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>",
        f"<h1>{escape(title)}</h1>",
        f'<p class="about">{escape(diagnosis.about)}</p>',
        _summary(diagnosis),
    ]
    for name, results in diagnosis.sections.items():
        findings = [one for one in results if isinstance(one, Finding)]
        skipped = [one for one in results if isinstance(one, Skipped)]
        parts.append(f"<h2>{escape(name)}</h2>")
        if findings:
            parts.append(_table(findings))
        if name == "Support set":
            parts += [_pictures(diagnosis, one) for one in findings if one.examples]
        if name.startswith("Scarcity") and len(diagnosis.curve) > 1:
            parts.append(_curve(diagnosis.curve))
        if skipped:
            lines = "".join(
                f"<li>{escape(one.measure)}: {escape(one.reason)}</li>" for one in skipped
            )
            parts.append(f'<p class="small">Left out:</p><ul class="small">{lines}</ul>')
    parts.append(
        '<p class="small">Intervals are of 95 %. '
        "The page holds everything it shows and loads nothing.</p></body></html>"
    )
    return "\n".join(parts)


def _summary(diagnosis: Diagnosis) -> str:
    if not diagnosis.warnings:
        n = len(diagnosis.findings)
        return f'<div class="box fine"><p>Nothing to do: {n} measures, no warning.</p></div>'
    lines = "".join(
        f"<p><b>{escape(one.verdict)}</b> {escape(one.advice)}</p>" for one in diagnosis.warnings
    )
    return f'<div class="box">{lines}</div>'


def _table(findings: list[Finding]) -> str:
    rows = []
    for one in findings:
        meaning = escape(one.verdict)
        if one.advice and one.is_warning:
            meaning += f"<br><b>{escape(one.advice)}</b>"
        elif one.advice:
            meaning += f" {escape(one.advice)}"
        if one.threshold is not None:
            origin = f"warns from {one.threshold.value:.3g}: {one.threshold.origin}"
            meaning += f'<br><span class="small">{escape(origin)}</span>'
        mark = f'<span class="mark" title="{one.status}"></span>'
        rows.append(
            f'<tr class="{one.status}"><td>{mark} {escape(one.measure)}</td>'
            f"<td>{escape(one.formatted)}</td><td>{meaning}</td></tr>"
        )
    head = "<thead><tr><th>measure</th><th>value</th><th>what it means</th></tr></thead>"
    return f"<table>{head}<tbody>{''.join(rows)}</tbody></table>"


def _pictures(diagnosis: Diagnosis, finding: Finding) -> str:
    """The examples that a finding is about."""
    support = diagnosis.support
    assert support is not None
    figures = []
    for i in finding.examples[:8]:
        label = escape(support.classes[int(support.task.y[i])])
        caption = f"<figcaption>{i + 1}: {label}</figcaption>"
        if support.pixels is not None:
            image = f'<img alt="example {i + 1}" src="{_png(support.pixels[i])}">'
            figures.append(f"<figure>{image}{caption}</figure>")
        else:
            text = escape(support.words[i][:200])
            figures.append(f"<figure><blockquote>{text}</blockquote>{caption}</figure>")
    return (
        f'<p class="small">{escape(finding.measure)}, as the learner sees it:</p>{"".join(figures)}'
    )


def _png(pixels: Tensor) -> str:
    """An image (channels, height, width) of bytes as a data URL."""
    array = pixels.byte().permute(1, 2, 0).squeeze(-1).cpu().numpy()
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _curve(points: list[tuple[float, float, float]]) -> str:
    """Accuracy over the logarithm of the shots, with intervals, as SVG."""
    low = math.floor(10 * max(0.0, min(y - half for _, y, half in points))) / 10
    first, last = math.log(points[0][0]), math.log(points[-1][0])

    def across(x: float) -> float:
        return LEFT + (WIDTH - LEFT - 20) * (math.log(x) - first) / max(last - first, 1e-9)

    def up(y: float) -> float:
        return 10 + (HEIGHT - BOTTOM - 10) * (1 - (min(y, 1.0) - low) / max(1 - low, 1e-9))

    def text(x: float, y: float, words: str, anchor: str = "middle") -> str:
        return (
            f'<text x="{x:.1f}" y="{y:.1f}" font-size="12" fill="currentColor" '
            f'text-anchor="{anchor}">{words}</text>'
        )

    lines, n_ticks = [], 4
    for k in range(n_ticks + 1):
        y = low + (1 - low) * k / n_ticks
        lines.append(
            f'<line x1="{LEFT}" x2="{WIDTH - 10}" y1="{up(y):.1f}" y2="{up(y):.1f}" '
            'stroke="currentColor" stroke-opacity=".15"/>'
        )
        lines.append(text(LEFT - 6, up(y) + 4, f"{y:.0%}", "end"))
    for x, y, half in points:
        lines.append(
            f'<line x1="{across(x):.1f}" x2="{across(x):.1f}" y1="{up(y - half):.1f}" '
            f'y2="{up(y + half):.1f}" stroke="#3b82f6" stroke-width="2"/>'
            f'<circle cx="{across(x):.1f}" cy="{up(y):.1f}" r="4" fill="#3b82f6"/>'
        )
        lines.append(text(across(x), HEIGHT - BOTTOM + 16, f"{x:g}"))
    path = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y, _ in points)
    lines.append(f'<polyline points="{path}" fill="none" stroke="#3b82f6" stroke-width="2"/>')
    lines.append(text((LEFT + WIDTH) / 2, HEIGHT - 2, "examples a class"))
    label = "Accuracy on new tasks by the number of examples a class"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{label}">{"".join(lines)}</svg><p class="small">{label}.</p>'
    )
