"""setuptools, for which an editable install of a checkout is one of atdata-core as well, which lies in it.

So ``pip install -e .`` asks for what atdata-core asks for, not for a release of it. Wheels ask for the release.
"""

import re
import tempfile
import tomllib
from pathlib import Path

from setuptools import build_meta
from setuptools.build_meta import (
    build_sdist,
    build_wheel,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

CORE = Path(__file__).parent / "core" / "pyproject.toml"


def prepare_metadata_for_build_editable(metadata_directory: str, config_settings: dict | None = None) -> str:
    """The metadata of setuptools, with what atdata-core asks for in its place."""
    folder = build_meta.prepare_metadata_for_build_editable(metadata_directory, config_settings)
    metadata = Path(metadata_directory, folder, "METADATA")
    project = tomllib.loads(CORE.read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["publish"]]
    lines = "\n".join(f"Requires-Dist: {requirement}" for requirement in wanted)
    metadata.write_text(re.sub(r"^Requires-Dist: atdata-core.*$", lines, metadata.read_text(), flags=re.MULTILINE))
    return folder


def build_editable(
    wheel_directory: str, config_settings: dict | None = None, metadata_directory: str | None = None
) -> str:
    """The wheel of setuptools, with the metadata above, whatever was prepared."""
    with tempfile.TemporaryDirectory() as folder:
        prepare_metadata_for_build_editable(folder, config_settings)
        return build_meta.build_editable(wheel_directory, config_settings, folder)
