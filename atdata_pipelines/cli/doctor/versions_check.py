"""Whether what is installed is what the package asks for."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Sequence
from importlib import metadata
from typing import TYPE_CHECKING

from .check import CheckResult, Known

if TYPE_CHECKING:
    from packaging.requirements import Requirement

PACKAGE = "atdata-pipelines"
SHOWN = ("dagster", "dagster-aws", "redis", "boto3", "atproto")


def look_at_versions(known: Known) -> Iterable[CheckResult]:
    """Compare with the ranges in the metadata of this package and of dagster-aws, which names its dagster."""
    from packaging.specifiers import SpecifierSet

    try:
        about = metadata.metadata(PACKAGE)
    except metadata.PackageNotFoundError:
        yield CheckResult(
            "warning", f"{PACKAGE} is not installed, so its ranges are not known", f"pip install {PACKAGE}"
        )
        return
    python, wanted = platform.python_version(), SpecifierSet(about.get("Requires-Python") or "")
    if not wanted.contains(python, prereleases=True):
        yield CheckResult("error", f"Python is {python}, not {wanted}", f"Use a Python {wanted}.")
    wrong = False
    extras = about.get_all("Provides-Extra") or []
    for requirement, optional in (*_of(PACKAGE, extras), *_of("dagster-aws", [])):
        found = _installed(requirement.name)
        if found is None and optional:
            continue
        if found is not None and requirement.specifier.contains(found, prereleases=True):
            continue
        wrong = True
        yield CheckResult(
            "error",
            f"{requirement.name} is {found or 'not installed'}, not {requirement.specifier}",
            f"pip install '{requirement.name}{requirement.specifier}'",
        )
    if not wrong:
        versions = ", ".join(f"{name} {_installed(name)}" for name in SHOWN)
        yield CheckResult("ok", f"{PACKAGE} {about['Version']}, Python {python}, {versions}")


def _of(package: str, extras: Sequence[str]) -> Iterator[tuple[Requirement, bool]]:
    """What a package asks for here, and whether only one of its extras does."""
    from packaging.requirements import Requirement

    for line in metadata.requires(package) or [] if _installed(package) else []:
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is None or marker.evaluate({"extra": ""}):
            yield requirement, False
        elif any(marker.evaluate({"extra": extra}) for extra in extras):
            yield requirement, True


def _installed(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
