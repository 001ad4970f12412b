"""The pipeline's graph as an SVG: a box for each component, columns from left to right, colours by state."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.execution.local_runner import ComponentRun

BOX, GAP = (106, 40), (18, 14)  # pixels: width and height of a box, space between columns and rows


@dataclass(frozen=True)
class Node:
    """A box at x, y; state as in `ComponentRun.state`."""

    name: str
    state: str
    wall_s: float
    x: int
    y: int


@dataclass(frozen=True)
class Graph:
    """Boxes, curves between them (SVG path data), and the size of the drawing in pixels."""

    nodes: list[Node]
    edges: list[str]
    width: int
    height: int


def lay_out(components: list[ComponentRun]) -> Graph | None:
    """Places each component one column right of the last one that it waits for; None if nobody knows who waits.

    Edges that others imply (a waits for b, b for c, a for c) are left out.
    """
    known = {component.name: component for component in components}
    waits = {name: [up for up in component.upstream if up in known] for name, component in known.items()}
    if not any(waits.values()):
        return None
    column: dict[str, int] = {}
    for name in known:  # components come in an order in which they can run
        column[name] = 1 + max((column[up] for up in waits[name]), default=-1)
    rows: dict[int, int] = {}
    places = {}
    for name in known:
        row = rows.get(column[name], 0)
        rows[column[name]] = row + 1
        places[name] = (column[name] * (BOX[0] + GAP[0]) + 1, row * (BOX[1] + GAP[1]) + 1)
    nodes = [Node(name, run.state, run.wall_s, *places[name]) for name, run in known.items()]
    edges = [
        _curve(places[up], places[name])
        for name, ups in waits.items()
        for up in ups
        if not any(up in _ancestors(other, waits) for other in ups if other != up)
    ]
    width = (max(column.values()) + 1) * (BOX[0] + GAP[0]) - GAP[0] + 2
    return Graph(nodes, edges, width, max(rows.values()) * (BOX[1] + GAP[1]) - GAP[1] + 2)


def _ancestors(name: str, waits: dict[str, list[str]]) -> set[str]:
    return {ancestor for up in waits[name] for ancestor in {up} | _ancestors(up, waits)}


def _curve(start: tuple[int, int], end: tuple[int, int]) -> str:
    x1, y1, x2, y2 = start[0] + BOX[0], start[1] + BOX[1] // 2, end[0], end[1] + BOX[1] // 2
    middle = (x1 + x2) // 2
    return f"M{x1},{y1}C{middle},{y1} {middle},{y2} {x2},{y2}"
