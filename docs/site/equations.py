"""Equations as pictures: no script, no font, nothing to fetch, and alike in all browsers."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import ziamath
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging

LOG = logging.getLogger(__name__)
SIZE = 20.0
"""Of the letters as they are drawn; the page scales them to those around."""

HIGHEST = 8
"""An equation of more em is drawn wrongly."""

ziamath.config.svg2 = False  # each picture is whole; shared symbols would clash in one page
ziamath.config.precision = 2


def as_svg(node: Any, *, inline: bool) -> str:
    """The picture of an equation, with its source as its description."""
    latex = " ".join(node.astext().split())
    source = re.sub(r"\\[lr]Vert\b", r"\\|", latex)  # which ziamath would stretch
    try:
        drawn = ziamath.Latex(source, size=SIZE, color="currentColor", inline=inline, margin=0)
    except Exception as error:
        LOG.warning("this equation cannot be drawn: %s: %s", latex, error, location=node)
        return ""
    picture = drawn.svgxml()
    width, height = (float(picture.attrib[side]) for side in ("width", "height"))
    if height > HIGHEST * SIZE:
        LOG.warning("this equation is drawn %.0f em high: %s", height / SIZE, latex, location=node)
    below = -drawn.getyofst() if inline else 0.0
    picture.attrib |= {
        "width": f"{width / SIZE:.3f}em",
        "height": f"{height / SIZE:.3f}em",
        "role": "img",
        "aria-label": latex,
        "style": f"vertical-align: {-below / SIZE:.3f}em",
    }
    return ElementTree.tostring(picture, encoding="unicode")


def visit_inline(self: Any, node: nodes.math) -> None:
    self.body.append(f'<span class="equation">{as_svg(node, inline=True)}</span>')
    raise nodes.SkipNode


def visit_block(self: Any, node: nodes.math_block) -> None:
    self.body.append(f'<div class="equation">{as_svg(node, inline=False)}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_html_math_renderer("svg", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
