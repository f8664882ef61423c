"""The instances of the pipeline in a Dagster project, found where a command is started."""

import importlib
import sys
import tomllib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import ValidationError

from atdata_core.common.names import near

from ..components.dataset_promotion import InstanceError, instances_in, prefix_of
from ..config.dagster_instance import PROJECT
from ..config.settings import DEFAULT, Settings, key_parts


def settings_here(key_prefix: str | None = None) -> list[Settings]:
    """What the instances are configured with that stand in the project of the working directory.

    A folder above the working directory is the project where a Dagster project is there; else it is this package's
    own, where it is a checkout. A project without an instance is taken for the default one.

    Args:
        key_prefix: Only of the instance that has it.

    Raises:
        InstanceError: The project cannot be loaded, or no instance has the prefix.
    """
    found = next((_instances(folder, said) for folder, said in _projects()), [DEFAULT])
    if key_prefix is None:
        return found
    named = [each for each in found if each.key_prefix == key_parts(key_prefix)]
    if not named:
        known = [prefix_of(each) for each in found]
        raise InstanceError(
            f"No instance of this project has the key prefix {key_prefix!r}.{near(key_prefix, known)} "
            f"There is: {_told(found)}."
        )
    return named


def settings_of(name: str, instances: Sequence[Settings]) -> Settings:
    """Those of the instance that takes a dataset. The only one is told of every dataset, and may refuse it.

    Raises:
        InstanceError: None of several takes it, or more than one does.
    """
    if len(instances) == 1:
        return instances[0]
    taking = [each for each in instances if each.refusal(name) is None]
    if not taking:
        raise InstanceError(
            f"No instance of this project takes {name!r}: there is {_told(instances)}. "
            "Write a pattern that it fits into the defs.yaml of one of them."
        )
    if len(taking) > 1:
        raise InstanceError(
            f"More than one instance of this project takes {name!r}: {_told(taking)}. Say which one is meant: "
            f"--key-prefix {prefix_of(taking[0])}"
        )
    return taking[0]


def only_settings() -> Settings:
    """Those of the only instance; raises ``InstanceError`` where there are more."""
    found = settings_here()
    if len(found) > 1:
        raise InstanceError(
            f"This project has more than one instance: {_told(found)}. Say which one is meant: "
            f"--key-prefix {prefix_of(found[0])}"
        )
    return found[0]


def _instances(folder: Path, said: Mapping[str, Any]) -> list[Settings]:
    """The instances of a project; raises ``InstanceError``."""
    module = said.get("defs_module") or f"{said.get('root_module')}.defs"
    # A console script has neither in its path, and a project need not be installed to be loaded by Dagster.
    sys.path += [str(path) for path in (folder / "src", folder) if path.is_dir() and str(path) not in sys.path]
    try:
        with warnings.catch_warnings():
            # Dagster reads YAML through a function that pydantic calls deprecated.
            warnings.simplefilter("ignore", DeprecationWarning)
            # Not `for_project`, which reads the project's file twice more, for a third of a second.
            tree = dg.ComponentTree.from_module(importlib.import_module(module), folder)
            found = instances_in(tree)
    except InstanceError:
        raise
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == module:
            # It has definitions, but no folder of components.
            return [DEFAULT]
        raise InstanceError(
            f"The Dagster project in {folder} cannot be loaded, so nobody knows how it promotes: {_reason(error)}. "
            "`dg check defs` tells more."
        ) from error
    return list(found.values()) or [DEFAULT]


def _projects() -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """The Dagster projects that a command may mean, the nearest first, with what their configuration says."""
    here = Path.cwd()
    for folder in (here, *here.parents, PROJECT):
        for file, *keys in (("dg.toml", "project"), ("pyproject.toml", "tool", "dg", "project")):
            try:
                said: Any = tomllib.loads((folder / file).read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue
            for key in keys:
                said = said.get(key) if isinstance(said, dict) else None
            if isinstance(said, dict):
                yield folder, said


def _reason(error: Exception) -> str:
    """What began it, and what Dagster was about when it happened."""
    root: BaseException = error
    while root.__cause__ is not None:
        root = root.__cause__
    if isinstance(root, ValidationError):
        wrong = root.errors(include_url=False, include_input=False)
        said = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in wrong)
    else:
        said = f"{type(root).__name__}: {root}"
    about = "" if root is error else f"{str(error).partition(chr(10))[0].rstrip(':')}: "
    return " ".join(f"{about}{said}".split()).rstrip(".")


def _told(instances: Sequence[Settings]) -> str:
    return ", ".join(f"{prefix_of(each)} (pattern: {each.pattern})" for each in instances)
