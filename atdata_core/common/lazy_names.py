"""Names of a package that are loaded, each with its module, when they are first asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_names(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """The ``__getattr__`` of a package.

    Args:
        package: Its ``__name__``.
        modules: Names, and the modules below the package that they are taken from; ``module:name`` where a name is
            another one there, and an empty string where the name is that of a module itself.
    """

    def load(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, _, own = modules[name].partition(":")
        if not module:
            return import_module(f".{name}", package)
        return getattr(import_module(f".{module}", package), own or name)

    return load
