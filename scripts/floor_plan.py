"""Prints the floor plan of the code: folders, rooms, the walk of the settings through a run, and long functions.

    python scripts/floor_plan.py [FOLDER]

FOLDER is a checkout, by default this one; run it on two to see what a change of the structure brought. Nothing of the
project is run: graftline/, tasks/ and flows/ are read as text, lazy and TYPE_CHECKING imports included. An __init__.py
only hands names on: who imports such a name imports the module that defines it.
"""

import argparse
import ast
import re
import statistics
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import groupby
from pathlib import Path, PurePosixPath

TOPS = ("graftline", "tasks", "flows")
LONG = 40  # lines
Function = ast.FunctionDef | ast.AsyncFunctionDef
Graph = Mapping[str, set[str]]
Place = tuple[str, str]
"""A module, and the name of what it defines; "" for the module itself."""


@dataclass(frozen=True)
class Module:
    path: PurePosixPath
    tree: ast.Module
    imports: Mapping[str, Place]
    """The meaning of each name that the module imports, as it is written there."""

    @property
    def folder(self) -> str:
        return f"{self.path.parent}/"

    @property
    def room(self) -> str:
        """The folder, or module beside folders, that someone sees who opens graftline/, tasks/ or flows/."""
        return "/".join(self.path.parts[:2])

    @property
    def is_face(self) -> bool:
        return self.path.name == "__init__.py"

    @property
    def functions(self) -> list[Function]:
        return [node for node in ast.walk(self.tree) if isinstance(node, Function)]


House = Mapping[str, Module]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).resolve().parent.parent)
    print(*floor_plan(parser.parse_args().folder), sep="\n")


def floor_plan(root: Path) -> Iterator[str]:
    """The lines that are printed."""
    house = read_house(root)
    arrows = arrows_of(house)
    yield from _folders(house, arrows)
    yield from _rooms(house, arrows, layers_of(root))
    yield from _settings(house)
    yield from _functions(house)


def read_house(root: Path) -> dict[str, Module]:
    """Every module of the product by its import name; links to folders are not followed."""
    house = {}
    for path in sorted(path for top in TOPS for path in (root / top).rglob("*.py")):
        place = PurePosixPath(path.relative_to(root).as_posix())
        parts = place.with_suffix("").parts
        if (root / "graftline" / parts[0]).is_symlink():  # graftline/tasks leads to tasks/
            parts = ("graftline", *parts)
        tree = ast.parse(path.read_text(encoding="utf-8"))
        house[".".join(parts).removesuffix(".__init__")] = Module(place, tree, _imports(tree))
    return house


def _imports(tree: ast.Module) -> dict[str, Place]:
    found: dict[str, Place] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.asname or alias.name: (alias.name, "") for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {alias.asname or alias.name: (node.module, alias.name) for alias in node.names}
    return found


def home(house: House, place: Place) -> Place:
    """Where a name is defined that other modules may hand on."""
    module, name = place
    if f"{module}.{name}" in house:
        return f"{module}.{name}", ""
    if module in house and house[module].is_face and name in house[module].imports:
        return home(house, house[module].imports[name])
    return place


def arrows_of(house: House) -> dict[str, set[str]]:
    """Which modules each module imports."""
    homes = {name: {home(house, place)[0] for place in module.imports.values()} for name, module in house.items()}
    modules = {name for name, module in house.items() if not module.is_face}
    return {name: (homes[name] & modules) - {name} for name in modules}


def between(places: Mapping[str, str], arrows: Graph) -> dict[str, set[str]]:
    """The arrows between the places in which modules lie; modules without a place are left out."""
    graph: dict[str, set[str]] = {place: set() for place in places.values()}
    for name, place in places.items():
        graph[place] |= {places[other] for other in arrows[name] if other in places} - {place}
    return graph


def floors_of(graph: Graph) -> tuple[int, int]:
    """The longest chain of arrows, counted in places, a circle as one; and how many circles there are."""
    below = {name: _reached(graph, name) for name in graph}
    circles = {frozenset(other for other in below[name] if name in below[other]) for name in graph} - {frozenset()}

    @cache
    def floor(name: str) -> int:
        return 1 + max((floor(other) for other in below[name] if name not in below[other]), default=0)

    return max(map(floor, graph), default=0), len(circles)


def _reached(graph: Graph, start: str) -> set[str]:
    reached: set[str] = set()
    waiting = [start]
    while waiting:
        new = graph[waiting.pop()] - reached
        reached |= new
        waiting += new
    return reached


def layers_of(root: Path) -> list[dict[str, int]]:
    """How deep each package lies in each contract of layers in pyproject.toml; 0 is the top."""
    tools = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    contracts = [contract for contract in tools["importlinter"]["contracts"] if contract["type"] == "layers"]
    found = []
    for contract in contracts:
        for container in contract.get("containers", [""]):
            layers = [
                (depth, name) for depth, layer in enumerate(contract["layers"]) for name in re.split("[|:]", layer)
            ]
            found.append({f"{container}.{name.strip(' ()')}".lstrip("."): depth for depth, name in layers})
    return found


def runs_up(layers: Mapping[str, int], importer: str, imported: str) -> bool:
    """Whether an arrow leads from a lower layer to a higher one."""
    lower, upper = (
        [layers[layer] for layer in layers if f"{name}.".startswith(f"{layer}.")] for name in (importer, imported)
    )
    return bool(lower and upper) and lower > upper


@dataclass(frozen=True)
class Walk:
    """Be the parameter `settings` of the flow `adapt`, and follow the calls that hand you on.

    A call does that whose argument is the settings, a part of them (`settings.data.task`), a variable that was set to
    one of these, or an object made with one. Calls are followed in the order in which they are written, those of
    methods are not, and a function that was walked before is only entered.
    """

    house: House
    stops: list[str] = field(default_factory=list)
    """The module of each function entered, in order."""
    _walked: dict[Place, set[str]] = field(default_factory=dict)

    def enter(self, place: Place, held: set[str]) -> None:
        """Walk through the function at `place`, whose parameters `held` are the settings or a part of them."""
        self.stops.append(place[0])
        if held <= self._walked.setdefault(place, set()):
            return
        self._walked[place] |= held
        held = set(held)
        for node in _in_order(self._definition(place)):
            if isinstance(node, ast.Assign) and self._holds(place[0], node.value, held):
                held |= {name.id for target in node.targets for name in ast.walk(target) if isinstance(name, ast.Name)}
            elif isinstance(node, ast.Call):
                self._follow(place[0], node, held)

    def _follow(self, module: str, call: ast.Call, held: set[str]) -> None:
        place = self._called(module, call)
        function = self._definition(place)
        if isinstance(function, Function):
            names = [argument.arg for argument in function.args.posonlyargs + function.args.args]
            given = [*zip(names, call.args, strict=False), *((word.arg or "", word.value) for word in call.keywords)]
            handed_on = {name for name, value in given if self._holds(module, value, held)}
            if handed_on:
                self.enter(place, handed_on)

    def _holds(self, module: str, value: ast.expr, held: set[str]) -> bool:
        if isinstance(value, ast.Call) and isinstance(self._definition(self._called(module, value)), ast.ClassDef):
            inner = [*value.args, *(word.value for word in value.keywords)]
            return any(self._holds(module, one, held) for one in inner)
        while isinstance(value, ast.Attribute):
            value = value.value
        return isinstance(value, ast.Name) and value.id in held

    def _called(self, module: str, call: ast.Call) -> Place:
        name = call.func.id if isinstance(call.func, ast.Name) else ""
        return home(self.house, self.house[module].imports.get(name, (module, name)))

    def _definition(self, place: Place) -> ast.stmt | None:
        body = self.house[place[0]].tree.body if place[0] in self.house else []
        return next((node for node in body if getattr(node, "name", None) == place[1]), None)


def _in_order(definition: ast.stmt | None) -> list[ast.stmt | ast.expr]:
    parts = [node for part in getattr(definition, "body", []) for node in ast.walk(part)]
    nodes = [node for node in parts if isinstance(node, ast.stmt | ast.expr)]
    return sorted(nodes, key=lambda node: (node.lineno, node.col_offset))


def takes_settings(function: Function) -> bool:
    """Whether a parameter is annotated with a class of settings."""
    arguments = function.args.posonlyargs + function.args.args + function.args.kwonlyargs
    written = [ast.unparse(argument.annotation) for argument in arguments if argument.annotation]
    return any(re.search(r"\w*Settings\b", annotation) for annotation in written)


def lines_of(function: Function) -> int:
    """From `def` to the last line, docstring included."""
    return (function.end_lineno or function.lineno) - function.lineno + 1


def _folders(house: House, arrows: Graph) -> Iterator[str]:
    folders = Counter(house[name].folder for name in arrows)
    yield "FOLDERS  modules, and floors: the longest chain of imports among them, a circle counted as one"
    for folder, count in sorted(folders.items(), key=lambda item: (-item[1], item[0])):
        floors, _ = floors_of(between({name: name for name in arrows if house[name].folder == folder}, arrows))
        yield f"  {count:4} on {floors:2} floors  {folder}"


def _rooms(house: House, arrows: Graph, contracts: list[dict[str, int]]) -> Iterator[str]:
    yield "ROOMS  a folder in graftline/, tasks/ or flows/, or a module that lies beside such folders"
    rooms = {name: house[name].room for name in arrows}
    for top in TOPS:
        inside = {name: room for name, room in rooms.items() if room.startswith(f"{top}/")}
        yield _arrows(between(inside, arrows), f"rooms of {top}/")
    yield _arrows(between(rooms, arrows), "rooms in all")
    yield _arrows(arrows, "modules in all")
    pairs = [(importer, imported) for importer in arrows for imported in arrows[importer]]
    up = sum(any(runs_up(layers, *pair) for layers in contracts) for pair in pairs)
    yield f"  {up:4} arrows between modules run up, by {len(contracts)} contracts of layers in pyproject.toml"


def _arrows(graph: Graph, places: str) -> str:
    floors, circles = floors_of(graph)
    count = sum(map(len, graph.values()))
    return f"  {count:4} arrows between {len(graph):3} {places}, on {floors} floors, {circles} circles"


def _settings(house: House) -> Iterator[str]:
    takers = [name for name, module in house.items() for function in module.functions if takes_settings(function)]
    walk = Walk(house)
    for name, module in house.items():
        if str(module.path) == "flows/adapt.py":
            walk.enter((name, "adapt"), {"settings"})
    yield "SETTINGS  a return is a stop in a place that the walk had left; the walk begins in flows/adapt.py"
    yield f"  {len(takers):4} functions in {len(set(takers))} modules have a parameter of a settings class"
    yield _stops(walk.stops, "modules")
    yield _stops([house[name].room for name in walk.stops], "rooms")


def _stops(stops: list[str], places: str) -> str:
    stays = [place for place, _ in groupby(stops)]
    rooms = len(set(stays))
    return f"  {len(stays):4} stops of the walk in {rooms} {places}: {len(stays) - rooms} returns"


def _functions(house: House) -> Iterator[str]:
    functions = [(function, module.path) for module in house.values() for function in module.functions]
    lines = sorted(lines_of(function) for function, _ in functions)
    yield f"FUNCTIONS  {len(lines)}, methods and inner ones included; lines from `def` to the end, docstring included"
    if lines:
        share = sum(length < 50 for length in lines) / len(lines)
        yield f"  {statistics.median(lines):4g} lines in the median; {share:.1%} have under 50"
    long = sorted(
        (-lines_of(function), function.name, path) for function, path in functions if lines_of(function) > LONG
    )
    yield f"  {len(long):4} have over {LONG} lines"
    yield from (f"  {-length:4} {name} ({path})" for length, name, path in long)


if __name__ == "__main__":
    main()
