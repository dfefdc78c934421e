"""How charts look, and how they become part of a page. Needs matplotlib, from the extra ``loop``."""

from __future__ import annotations

import functools
import io
import re
import warnings
from typing import TYPE_CHECKING, Any, ParamSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from xml.etree.ElementTree import Element

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    P = ParamSpec("P")

# Okabe and Ito's colours, told apart by the colour-blind. A page sets them anew for dark backgrounds.
INK, BLUE, ORANGE, GREEN = "#1A1C20", "#0072B2", "#D55E00", "#009E73"
PURPLE, SKY, AMBER = "#CC79A7", "#56B4E9", "#E69F00"
_VARIABLES = {
    INK: "ink",
    BLUE: "blue",
    ORANGE: "orange",
    GREEN: "green",
    PURPLE: "purple",
    SKY: "sky",
    AMBER: "amber",
}

# Inches: as wide as a phone, so that text is not shrunk there.
WIDTH = 4.6
_STYLE: dict[str, Any] = {
    "figure.constrained_layout.use": True,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.5,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.15,
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text: to be read aloud, searched, and set in the font of the page
    "text.parse_math": False,  # a class may be called "$"
} | dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color", "grid.color"), INK)


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw in the style of the report, and leave that of the caller's own pictures alone."""

    @functools.wraps(draw)
    def in_style(*args: P.args, **kwargs: P.kwargs) -> Figure:
        try:
            from matplotlib import style
        except ImportError as error:
            raise ImportError("charts need matplotlib; install it with pip install 'pickwise[loop]'") from error
        with style.context(["default", _STYLE]):
            return draw(*args, **kwargs)

    return in_style


def clean(text: object, most: int) -> str:
    """Write anything on a line that HTML and SVG can hold, shortened."""
    # Twice as many characters are looked at as are shown, so that a long text costs no more than a short one.
    line = " ".join(_UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", str(text)[: 2 * most]).split())
    return line if len(line) <= most else f"{line[: most - 1].rstrip()}…"


_UNPRINTABLE = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


def canvas(height: float) -> tuple[Figure, Axes]:
    """Make a figure of one chart; heights are inches."""
    figure, (axes,) = panels([height])
    return figure, axes


def panels(heights: Sequence[float], *, shared: bool = False) -> tuple[Figure, list[Axes]]:
    """Make a figure of charts one below the other."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, sum(heights)))
    axes = figure.subplots(len(heights), 1, sharex=shared, squeeze=False, height_ratios=heights)
    return figure, list(axes[:, 0])


def percent() -> PercentFormatter:
    """Return what writes shares on an axis as percent."""
    from matplotlib.ticker import PercentFormatter

    return PercentFormatter(1)


def to_svg(figure: Figure, prefix: str, title: str) -> str:
    """Write a figure as an element for a page of HTML.

    Parameters
    ----------
    figure : Figure
    prefix : str
        Before each id, different for each chart of a page.
    title : str
        What it shows, for those who cannot see it.

    Returns
    -------
    str
        The same for the same figure: no date, no random ids. Colours of the style are CSS variables (``--ink``,
        ``--blue`` and so on), and the size is left to the page.
    """
    from matplotlib import style

    file = io.StringIO()
    with style.context(["default", _STYLE | {"svg.hashsalt": prefix}]), warnings.catch_warnings():
        # The browser has the letters that matplotlib's font lacks.
        warnings.filterwarnings("ignore", message=r".*[Gg]lyph.*")
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    return _for_page(file.getvalue(), prefix, title)


def _for_page(text: str, prefix: str, title: str) -> str:
    from xml.etree import ElementTree as ET

    root = ET.fromstring(text)  # noqa: S314 - matplotlib wrote it a moment ago
    needed = set(re.findall(r'(?:url\(|href=")#([\w.-]+)', text))
    for element in list(root.iter()):
        for child in list(element):
            # Styles would be those of the whole page.
            if child.tag.rpartition("}")[2] in {"metadata", "style"}:
                element.remove(child)
    for element in root.iter():
        _adapt(element, prefix, needed)
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.attrib |= {"role": "img", "aria-label": title}
    return ET.tostring(root, encoding="unicode")


def _adapt(element: Element, prefix: str, needed: set[str]) -> None:
    """Drop namespaces, which HTML has none of, and ids that nothing refers to; prefix the others."""
    element.tag = element.tag.rpartition("}")[2]
    attributes = {name.rpartition("}")[2]: value for name, value in element.attrib.items()}
    if attributes.get("id") not in needed:
        attributes.pop("id", None)
    for name, value in attributes.items():
        if name == "id":
            attributes[name] = f"{prefix}-{value}"
        elif name == "href":
            attributes[name] = value.replace("#", f"#{prefix}-", 1)
        else:
            attributes[name] = _COLOR.sub(_variable, value.replace("url(#", f"url(#{prefix}-"))
    element.attrib.clear()
    element.attrib.update(attributes)


_COLOR = re.compile("|".join(_VARIABLES), re.IGNORECASE)


def _variable(color: re.Match[str]) -> str:
    return f"var(--{_VARIABLES[color[0].upper()]}, {color[0]})"
