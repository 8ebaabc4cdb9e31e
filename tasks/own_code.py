"""The modules of ours that can change what a step computes, found from their imports, and their digest."""

import ast
from collections.abc import Iterator, Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import cast
from zipfile import ZipFile

from pydantic import JsonValue

import graftline
from graftline.digests import file_sha256, json_sha256
from graftline.files import files_below

PACKAGE = Path(graftline.__file__).parent
# Not followed and not counted unless asked for: the list of tasks only names what others are made of, settings and the
# policy count by their values, base models by the digest of their files, and the others say where results lie, by whom
# they are made and what is told of them.
NOT_COUNTED = (
    "graftline.answers.tasks",
    "graftline.settings",
    "graftline.errors",
    "graftline.pages",
    "graftline.tasks.base_models",
    "graftline.tasks.data.dvc_folder",
    "graftline.tasks.own_code",
    "graftline.tasks.progress",
    "graftline.tasks.registry",
    "graftline.tasks.step",
    "graftline.tasks.step_folders",
    "graftline.tasks.step_uses",
    "graftline.tasks.tracking",
    "graftline.tasks.workers",
    "graftline.tasks.workspace",
    "graftline.verdict.policy",
)


@cache
def code_sha256(*modules: str) -> str:
    """The digest of these modules and of all that they import of ours, also inside of functions.

    Comments, docstrings and what only a type checker reads do not count. Python's own syntax tree is digested: another
    minor version of Python may have another digest.
    """
    return json_sha256({name: _digest(name) for name in modules_behind(*modules, without=NOT_COUNTED)})


def modules_behind(*modules: str, without: Sequence[str] = ()) -> list[str]:
    """These modules and those of ours that they can reach through imports, in the order of their names.

    `without` names modules and packages that are not followed.
    """
    found, open_ends = set[str](), list(modules)
    while open_ends:
        name = open_ends.pop()
        if name not in found:
            found.add(name)
            open_ends += [module for module in _imports(name) if not is_in(module, without)]
    return sorted(found)


@cache
def all_code_sha256() -> str:
    """The digest of every module of ours, byte for byte; a checkout, where two folders are links, has a wheel's."""
    modules: dict[str, JsonValue] = {}
    for room in ("", "tasks", "flows"):
        folder = (PACKAGE / room).resolve()
        for path in files_below(folder):
            if path.suffix == ".py":
                modules[(PurePosixPath(room) / path.relative_to(folder)).as_posix()] = file_sha256(path)
    return json_sha256(modules)


def code_sha256_of_wheel(wheel: Path) -> str:
    """The digest of every module in a wheel, as `all_code_sha256` has it once the wheel is installed."""
    room = f"{PACKAGE.name}/"
    with ZipFile(wheel) as packed:
        names = [name for name in packed.namelist() if name.startswith(room) and name.endswith(".py")]
        return json_sha256({name.removeprefix(room): sha256(packed.read(name)).hexdigest() for name in names})


def path_of(module: str) -> Path | None:
    """The file of one of our modules; None of a name that is none."""
    place = PACKAGE.joinpath(*module.split(".")[1:])
    return next((path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()), None)


def command_line_of(folder: Path) -> str | None:
    """The module of the command line whose code a folder holds; None where it holds none, as a project of one's own.

    Up to release 0.1.0 `flows` was a package of its own beside `graftline`.
    """
    if not (folder / "graftline" / "__init__.py").is_file():
        return None
    places = {"graftline.flows": folder / "graftline" / "flows", "flows": folder / "flows"}
    return next((module for module, place in places.items() if (place / "cli.py").is_file()), None)


def is_in(module: str, packages: Sequence[str]) -> bool:
    """Whether a module is one of these, or lies in one of them."""
    return any(module == name or module.startswith(f"{name}.") for name in packages)


def _digest(module: str) -> str:
    return json_sha256(ast.dump(_tree(module)))


@cache
def _imports(module: str) -> frozenset[str]:
    return frozenset(name for node in ast.walk(_tree(module)) for name in _imported_by(node))


def _imported_by(node: ast.AST) -> Iterator[str]:
    """Our modules that a statement imports: those named, and the packages around them, whose code runs, too."""
    named: list[str] = []
    if isinstance(node, ast.Import):
        named = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and node.module:
        named = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    for name in named:
        parts = name.split(".")
        if parts[0] == graftline.__name__:
            around = (".".join(parts[:length]) for length in range(1, len(parts) + 1))
            yield from (module for module in around if path_of(module))


@cache
def _tree(module: str) -> ast.Module:
    """A module as Python runs it."""
    path = cast("Path", path_of(module))
    return cast("ast.Module", _WithoutWords().visit(ast.parse(path.read_bytes())))


class _WithoutWords(ast.NodeTransformer):
    """Takes out docstrings, and what stands under TYPE_CHECKING."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        is_text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if is_text else node

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        self.generic_visit(node)
        is_for_types = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        return (node.orelse or ast.Pass()) if is_for_types else node
