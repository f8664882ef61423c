"""``import atdata``, as the documentation writes it: the modules of ``atdata_core`` under that name.

Where another distribution installs a package ``atdata``, that one is imported and this file gives way.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import sys
from importlib.abc import Loader, MetaPathFinder
from types import ModuleType
from typing import TYPE_CHECKING

_PREFIX = f"{__name__}."
_FORMER = ("_cid", "_hf_api", "_protocols", "_schema_codec", "_sources", "dataset")
"""Modules of atdata 0.2 from which programs take names, some of them private; here they are one."""


class _SameModule(Loader):
    """Loads ``atdata.X`` as ``atdata_core.X``: the same module object, never a second copy."""

    def __init__(self, real: str) -> None:
        self._real = real

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        module = importlib.import_module(self._real)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        # The module has run already; only the spec that the import system put on it is taken off again.
        module.__spec__ = self._spec


class _SameModules(MetaPathFinder):
    """Knows which ``atdata.X`` there are."""

    def find_spec(
        self, fullname: str, path: object = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if not fullname.startswith(_PREFIX):
            return None
        name = fullname[len(_PREFIX) :]
        real = "atdata_core." + ("former_names" if name in _FORMER else name)
        if importlib.util.find_spec(real) is None:
            return None
        return importlib.machinery.ModuleSpec(fullname, _SameModule(real))


def _other_package() -> importlib.machinery.ModuleSpec | None:
    """The package ``atdata`` of another distribution, wherever it stands on the path."""
    for place in sys.path:
        spec = importlib.machinery.PathFinder.find_spec(__name__, [place])
        # A copy of this very file, as a checkout beside an installed one has it, is no package.
        if spec is not None and spec.submodule_search_locations and spec.origin:
            return spec
    return None


_other = _other_package()
if _other is not None and _other.loader is not None:
    _module = importlib.util.module_from_spec(_other)
    sys.modules[__name__] = _module
    _other.loader.exec_module(_module)
elif TYPE_CHECKING:
    from atdata_core import AbstractDataStore as AbstractDataStore
    from atdata_core import AbstractIndex as AbstractIndex
    from atdata_core import AtdataError as AtdataError
    from atdata_core import BlobSource as BlobSource
    from atdata_core import Dataset as Dataset
    from atdata_core import DatasetDict as DatasetDict
    from atdata_core import DataSource as DataSource
    from atdata_core import DictSample as DictSample
    from atdata_core import Index as Index
    from atdata_core import IndexEntry as IndexEntry
    from atdata_core import Lens as Lens
    from atdata_core import LensNetwork as LensNetwork
    from atdata_core import Packable as Packable
    from atdata_core import PackableSample as PackableSample
    from atdata_core import S3Source as S3Source
    from atdata_core import SampleBatch as SampleBatch
    from atdata_core import URLSource as URLSource
    from atdata_core import generate_cid as generate_cid
    from atdata_core import lens as lens
    from atdata_core import load_dataset as load_dataset
    from atdata_core import packable as packable
    from atdata_core import promote_to_atmosphere as promote_to_atmosphere
    from atdata_core import schema_to_type as schema_to_type
    from atdata_core import verify_cid as verify_cid
else:
    _core = importlib.import_module("atdata_core")
    __path__: list[str] = []
    sys.meta_path.insert(0, _SameModules())
    # What is loaded is there at once: an import of ``atdata.lens`` later would put the module over the function.
    for _name in [name for name in sys.modules if name.startswith("atdata_core.")]:
        sys.modules[_PREFIX + _name.partition(".")[2]] = sys.modules[_name]
    __all__ = list(_core.__all__)

    def __getattr__(name: str) -> object:
        return importlib.import_module(_PREFIX + name) if name in _FORMER else getattr(_core, name)

    def __dir__() -> list[str]:
        return sorted({*dir(_core), *__all__})
