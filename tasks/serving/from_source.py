"""Runs a program with a registered model's code as it was checked: compiled modules that lie beside it are not read.

A server that loads the stored model leaves such modules there, so they cannot be refused; and whoever can write there
could leave others. Nothing of graftline may be imported here: the model must bring the code that it needs.
"""

import runpy
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType


def main() -> None:
    folder, program, *arguments = sys.argv[1:]
    _compile_anew(Path(folder).resolve())
    sys.argv = [program, *arguments]
    runpy.run_path(program, run_name="__main__")


def _compile_anew(folder: Path) -> None:
    """Have Python compile whatever is imported from below a folder, and write nothing there."""
    as_usual = SourceFileLoader.get_code

    def get_code(loader: SourceFileLoader, name: str) -> CodeType | None:
        path = loader.get_filename(name)
        if not Path(path).resolve().is_relative_to(folder):
            return as_usual(loader, name)
        return loader.source_to_code(loader.get_data(path), path)

    SourceFileLoader.get_code = get_code  # type: ignore[method-assign,assignment]


if __name__ == "__main__":
    main()
