"""SVG charts for light and dark pages."""

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path

COLOURS = ("#d33", "#e80", "#a80", "#3a3", "#199", "#28e", "#75e", "#b4b", "#888", "#a66", "#5aa", "#66a")
STYLE = """<style>
text { font: 12px sans-serif; fill: #333 } line, path { stroke: #999 } .grid { stroke-opacity: .35 }
@media (prefers-color-scheme: dark) { text { fill: #ccc } }
</style>"""
Curves = Mapping[str, Sequence[tuple[int, float]]]


def peers(path: Path, operations: Sequence[str], rates: Mapping[str, Sequence[float | None]]) -> None:
    """Draw a row of points for each operation: rates relative to the first server, on a log scale."""
    left, width, row = 230, 520, 26
    values = [value for series in rates.values() for value in series if value]
    low, high = math.log2(min(values)) - 0.2, math.log2(max(values)) + 0.2
    height = len(operations) * row
    top = 24 + 18 * math.ceil(len(rates) / 4)

    def x(value: float) -> float:
        return left + width * (math.log2(value) - low) / (high - low)

    def parts() -> Iterator[str]:
        for power in range(math.ceil(low), math.floor(high) + 1):
            yield _line(x(2.0**power), top, x(2.0**power), top + height, "grid")
            yield _text(x(2.0**power), top + height + 16, _times(power), "middle")
        for number, operation in enumerate(operations):
            y = top + row * (number + 0.5)
            yield _text(left - 10, y + 4, operation, "end")
            yield _line(left, y, left + width, y, "grid")
        for (name, series), colour in zip(rates.items(), COLOURS, strict=False):
            for number, value in enumerate(series):
                if value:
                    yield _point(x(value), top + row * (number + 0.5), colour, f"{name}: {value:.2f}")
        for number, name in enumerate(rates):
            place = left + number % 4 * 160 - 120, 14 + 18 * (number // 4)
            yield _point(*place, COLOURS[number], name)
            yield _text(place[0] + 9, place[1] + 4, name)

    _write(path, left + width + 20, top + height + 26, parts())


def scale(path: Path, panels: Mapping[str, Curves]) -> None:
    """Draw a panel for each database with a curve for each operation, on log scales."""
    left, width, height, top = 60, 230, 260, 30
    values = [value for panel in panels.values() for curve in panel.values() for _, value in curve]
    low, high = min(-1.0, math.log2(min(values))), max(1.0, math.log2(max(values)))
    names = list(dict.fromkeys(name for panel in panels.values() for name in panel))

    def y(value: float) -> float:
        return top + height * (high - math.log2(value)) / (high - low)

    def parts() -> Iterator[str]:
        for number, (title, panel) in enumerate(panels.items()):
            start = left + number * (width + left)
            sizes = sorted({size for curve in panel.values() for size, _ in curve})
            at = {size: start + width * step / max(1, len(sizes) - 1) for step, size in enumerate(sizes)}
            yield _text(start, 16, title)
            for power in range(math.ceil(low), math.floor(high) + 1):
                yield _line(start, y(2.0**power), start + width, y(2.0**power), "grid")
                yield _text(start - 4, y(2.0**power) + 4, _times(power), "end")
            for size in sizes:
                yield _text(at[size], top + height + 18, f"{size:,}", "middle")
            for name, curve in panel.items():
                colour = COLOURS[names.index(name)]
                points = " L".join(f"{at[size]:.1f} {y(value):.1f}" for size, value in curve)
                yield f'<path d="M{points}" fill="none" style="stroke:{colour};stroke-width:2"/>'
                for size, value in curve:
                    yield _point(at[size], y(value), colour, f"{name}: {value:.2f}")
        for number, name in enumerate(names):
            place = left + len(panels) * (width + left), top + 10 + 20 * number
            yield _point(*place, COLOURS[number], name)
            yield _text(place[0] + 9, place[1] + 4, name)

    _write(path, left + len(panels) * (width + left) + 190, top + height + 30, parts())


def _write(path: Path, width: float, height: float, parts: Iterator[str]) -> None:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}">'
    path.write_text("\n".join([head, STYLE, *parts, "</svg>", ""]))


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _times(power: int) -> str:
    return f"{2**power}" if power >= 0 else f"1/{2**-power}"


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _point(x: float, y: float, colour: str, title: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"><title>{escape(title)}</title></circle>'
