"""The rooms of the house: every folder has a door, and nobody enters by the window."""

import ast
import importlib
import re
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("atdata_core", "atdata_pipelines")
FOLDERS = sorted(file.parent for package in PACKAGES for file in (ROOT / package).rglob("__init__.py"))
MOST_MODULES = 14


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def door(folder: Path) -> list[str] | None:
    for node in ast.parse((folder / "__init__.py").read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return ast.literal_eval(node.value)
    return None


def imported(file: Path) -> set[str]:
    """Modules and names that a file imports from our packages, absolute, wherever in the file it does so."""
    package = dotted(file) if file.name == "__init__.py" else dotted(file).rpartition(".")[0]
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            found |= {f"{base}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] in PACKAGES}


@pytest.mark.parametrize("folder", FOLDERS, ids=dotted)
def test_a_folder_has_a_door_and_few_modules(folder):
    names = door(folder)
    assert names is not None, f"{dotted(folder)} has no __all__"
    missing = [name for name in names if not hasattr(importlib.import_module(dotted(folder)), name)]
    assert all((folder / name).is_dir() or (folder / f"{name}.py").is_file() for name in missing)
    assert len([file for file in folder.glob("*.py") if file.name != "__init__.py"]) <= MOST_MODULES


def test_what_a_door_does_not_name_is_used_inside_its_folder_only():
    # Over a second: it parses every file of both packages.
    doors = {dotted(folder): door(folder) or [] for folder in FOLDERS}
    windows = [
        f"{dotted(file)} imports {name}"
        for package in PACKAGES
        for file in (ROOT / package).rglob("*.py")
        for name in sorted(imported(file))
        for room in doors
        if name.startswith(f"{room}.") and room not in PACKAGES and not f"{dotted(file)}.".startswith(f"{room}.")
        if name.removeprefix(f"{room}.").split(".")[0] not in doors[room]
    ]
    assert not windows, "\n".join(windows)


def test_no_two_modules_and_no_two_public_classes_have_one_name():
    # Over a second: it parses every file of both packages.
    places: dict[str, set[str]] = defaultdict(set)
    for file in (file for package in PACKAGES for file in (ROOT / package).rglob("*.py")):
        if file.name != "__main__.py":
            places[(file.parent if file.name == "__init__.py" else file).stem].add(dotted(file))
        for node in ast.parse(file.read_text("utf-8")).body:
            target = node.targets[0] if isinstance(node, ast.Assign) else None
            name = node.name if isinstance(node, ast.ClassDef) else getattr(target, "id", "")
            # A type that has a name without being a class (`Json = dict[str, Any]`) is written as one.
            if re.fullmatch("[A-Z][A-Za-z0-9]*[a-z][A-Za-z0-9]*", name):
                places[name].add(dotted(file))
    assert {name: found for name, found in places.items() if len(found) > 1} == {}
