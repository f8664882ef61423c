"""Names of a package that are loaded, each with its module, when they are first asked for."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any


def lazy_names(
    package: str, names: Iterable[str], modules: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The ``__getattr__`` and the ``__dir__`` of a package.

    Args:
        package: Its ``__name__``.
        names: All that it gives; those that are not among ``modules`` are modules themselves.
        modules: The modules below the package that names are taken from; ``module:name`` where a name is another
            one there.
    """
    public = frozenset(names)

    def load(name: str) -> Any:
        if name not in public:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if name not in modules:
            return import_module(f".{name}", package)
        module, _, own = modules[name].partition(":")
        return getattr(import_module(f".{module}", package), own or name)

    def listed() -> list[str]:
        return sorted(public.union(vars(sys.modules[package])))

    return load, listed
