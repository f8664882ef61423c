"""Variables and the folder for what this machine keeps."""

from __future__ import annotations

import os
import platform
import stat
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit

from dotenv import dotenv_values
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from atdata_core.atmosphere.record_format.record_keys import is_did, is_handle
from atdata_core.atmosphere.xrpc.identifiers import identifier_in
from atdata_core.atmosphere.xrpc.write_budget import from_environment
from atdata_core.common.env_file import open_env_file
from atdata_core.common.names import near
from atdata_core.common.network_settings import proxy_of, tls_context
from atdata_core.common.state_file import state_folder
from atdata_core.errors import AtdataError, NetworkSettingsError
from atdata_core.state.redis_state import from_url
from atdata_core.stores.s3.objects import checked_style

from ...config.executors import broker_url, executor_named
from .check import CheckResult, Known, fail, ok, warn

PREFIX = "ATDATA_"
REQUIRED = ("ATDATA_REDIS_URL", "ATDATA_HANDLE", "ATDATA_APP_PASSWORD")
TOGETHER = (
    ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
    ("ATDATA_PUBLISH_ACCESS_KEY_ID", "ATDATA_PUBLISH_SECRET_ACCESS_KEY"),
)
BUCKET, TO = "ATDATA_PUBLISH_BUCKET", "ATDATA_PUBLISH_TO"
PACKAGE, LIBRARY = "atdata-pipelines", "atdata-core"
SHOWN = ("dagster", "dagster-aws", "redis", "boto3", "atproto")


def _is_url(value: str) -> str | None:
    try:
        parts = urlsplit(value)
        well = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        well = False
    if not well:
        return "is no http(s) URL"
    return "carries a user or password" if "@" in urlsplit(value).netloc else None


def _is_account(value: str) -> str | None:
    account = identifier_in(value)
    return None if is_handle(account) or is_did(account) else "is no handle (alice.example.org)"


def _taken_by(use: Callable[[str], object], otherwise: str) -> Callable[[str], str | None]:
    """Whether the library takes a value; what is said of one that it refuses."""

    def problem(value: str) -> str | None:
        try:
            use(value)
        except AtdataError as error:
            return otherwise.format(error.message)
        return None

    return problem


_is_style = _taken_by(lambda value: checked_style(value, ""), "is no addressing style: path, virtual or auto")


def _is_absolute(value: str) -> str | None:
    return None if Path(value).expanduser().is_absolute() else "is no absolute path"


def _is_folders(value: str) -> str | None:
    parts = [Path(part.strip()) for part in value.split(os.pathsep) if part.strip()]
    return (
        None
        if all(part.is_absolute() for part in parts)
        else f"names a folder without its absolute path ({os.pathsep!r} stands between two)"
    )


VARIABLES: Mapping[str, Callable[[str], str | None] | None] = {
    "ATDATA_REDIS_URL": _taken_by(from_url, "is no URL of Redis (redis://host:6379/0)"),
    "ATDATA_S3_ENDPOINT": _is_url,
    "AWS_ACCESS_KEY_ID": None,
    "AWS_SECRET_ACCESS_KEY": None,
    "AWS_S3_ADDRESSING_STYLE": _is_style,
    "ATDATA_BUCKET": None,
    "AWS_REQUEST_PAYER": lambda value: None if value == "requester" else "is not requester",
    "ATDATA_PDS_URL": _is_url,
    "ATDATA_PLC_URL": _is_url,
    "ATDATA_APPVIEW_URL": _is_url,
    "ATDATA_RELAY_URL": _is_url,
    "ATDATA_HANDLE": _is_account,
    "ATDATA_APP_PASSWORD": None,
    "ATDATA_PUBLISH_TO": None,
    "ATDATA_PUBLISH_BUCKET": None,
    "ATDATA_PUBLISH_ENDPOINT": _is_url,
    "ATDATA_PUBLISH_ACCESS_KEY_ID": None,
    "ATDATA_PUBLISH_SECRET_ACCESS_KEY": None,
    "ATDATA_PUBLISH_ADDRESSING_STYLE": _is_style,
    "ATDATA_PUBLISH_PUBLIC_URL": _is_url,
    "ATDATA_ALLOW_PRIVATE": None,
    "ATDATA_LOCAL_FOLDERS": _is_folders,
    "ATDATA_STATE_DIR": None,
    "ATDATA_CACHE_DIR": None,
    "ATDATA_CACHE_BYTES": lambda value: None if value.isdecimal() else "is no number of bytes",
    "ATDATA_WRITE_BUDGET": _taken_by(
        lambda _: from_environment(), "is neither points an hour / points a day, such as 5000/35000, nor off"
    ),
    "ATDATA_EXECUTOR": _taken_by(executor_named, "cannot be used: {}"),
    "ATDATA_CELERY_URL": _taken_by(
        lambda _: broker_url(), "is no Redis URL that Celery can use, such as redis://localhost:6379/1"
    ),
    "DAGSTER_HOME": _is_absolute,
}
"""Those of .env.example, with what tells what is wrong with a value (without repeating it), where anything is."""


def look_at_variables(known: Known) -> Iterable[CheckResult]:
    """Which are set, and what is wrong with them."""
    given = {name: os.environ[name].strip() for name in VARIABLES if os.environ.get(name, "").strip()}
    problems = list(_problems(given))
    try:
        # What every request will need: proxies, and whom to trust.
        for scheme in ("http", "https"):
            proxy_of(f"{scheme}://example.org")
        tls_context()
    except NetworkSettingsError as error:
        problems.append(fail(error.message))
    yield from problems
    if not any(problem.state == "error" for problem in problems):
        yield ok(f"{len(given)} set: {', '.join(given)}")
    file = Path.cwd() / ".env"
    if not file.is_file():
        return
    values = {
        name: value
        for name, value in dotenv_values(stream=open_env_file(file)).items()
        if name in VARIABLES and value
    }
    same = [name for name, value in values.items() if os.environ.get(name) == value]
    if same:
        yield ok(f"{len(same)} of them as {file} says: {', '.join(same)}")
    other = [name for name in values if name not in same]
    if other:
        yield warn(
            f"{file} says something else for {', '.join(other)} than the environment, which counts more",
            f"Take what is wrong out: `unset {' '.join(other)}`, or out of .env.",
        )


def _problems(given: Mapping[str, str]) -> Iterator[CheckResult]:
    for name in REQUIRED:
        if name not in given:
            yield fail(f"{name} is not set", "Set it in the environment or in .env.")
    for name, value in given.items():
        problem_of = VARIABLES[name]
        if problem_of is not None and (wrong := problem_of(value)) is not None:
            yield fail(f"{name} {wrong}", f"Mend {name} in the environment or in .env.")
    for pair in TOGETHER:
        there = [name for name in pair if name in given]
        if len(there) == 1:
            [missing] = set(pair) - set(there)
            yield fail(f"{there[0]} is set, but not {missing}", f"Set {missing} too, or neither.")
    idle = [name for name in given if name.startswith(f"{PREFIX}PUBLISH_") and name not in (BUCKET, TO)]
    if idle and BUCKET not in given:
        yield warn(
            f"{', '.join(idle)} says where to copy to, but {BUCKET} is not set, so nothing is copied",
            f"Set {BUCKET}, or take the others away.",
        )
    for name in sorted(os.environ):
        if name.startswith(PREFIX) and name not in VARIABLES:
            yield warn(f"{name} is no variable that is read.{near(name, VARIABLES)}", f"unset {name}, or mend it.")


def look_at_state(known: Known) -> Iterable[CheckResult]:
    """Whether sessions and counts can be kept, for nobody else to read."""
    mend = "Set ATDATA_STATE_DIR to a folder of your own that can be written."
    try:
        folder = state_folder()
        if not folder.exists():
            folder.mkdir(mode=0o700, parents=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        yield fail(f"the state folder cannot be used: {error.strerror or error}", mend)
        return
    open_ones = [path for path in (folder, *folder.rglob("*")) if _is_open(path)] if sys.platform != "win32" else []
    if open_ones:
        more = f" and {len(open_ones) - 1} more" if len(open_ones) > 1 else ""
        yield warn(
            f"others may look into {open_ones[0]}{more}; a session that others may read is not used",
            f"chmod -R go= {folder}",
        )
    else:
        yield ok(f"{folder} is written and read by you alone")


def _is_open(path: Path) -> bool:
    try:
        return bool(stat.S_IMODE(path.lstat().st_mode) & 0o077)
    except FileNotFoundError:
        return False  # taken away meanwhile, by a process that is done with it


def look_at_versions(known: Known) -> Iterable[CheckResult]:
    """Compare with the ranges in the metadata of this package, of the library, and of dagster-aws, which names its
    dagster.
    """
    try:
        about = metadata.metadata(PACKAGE)
    except metadata.PackageNotFoundError:
        yield warn(f"{PACKAGE} is not installed, so its ranges are not known", f"pip install {PACKAGE}")
        return
    python, wanted = platform.python_version(), SpecifierSet(about.get("Requires-Python") or "")
    if not wanted.contains(python, prereleases=True):
        yield fail(f"Python is {python}, not {wanted}", f"Use a Python {wanted}.")
    wrong = False
    extras = _installed_extras(PACKAGE, about.get_all("Provides-Extra") or [])
    # What two of them ask for alike is told once.
    asked = dict.fromkeys((*_of(PACKAGE, extras), *_of(LIBRARY, ["publish"]), *_of("dagster-aws", [])))
    for requirement, optional in asked:
        found = _installed(requirement.name)
        if found is None and optional:
            continue
        if found is not None and requirement.specifier.contains(found, prereleases=True):
            continue
        wrong = True
        yield fail(
            f"{requirement.name} is {found or 'not installed'}, not {requirement.specifier}",
            f"pip install '{requirement.name}{requirement.specifier}'",
        )
    if not wrong:
        versions = ", ".join(f"{name} {_installed(name)}" for name in SHOWN if _installed(name))
        yield ok(f"{PACKAGE} {about['Version']}, Python {python}, {versions}")


def _of(package: str, extras: Sequence[str]) -> Iterator[tuple[Requirement, bool]]:
    """What a package asks for here, and whether only one of its extras does."""
    for line in metadata.requires(package) or [] if _installed(package) else []:
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is None or marker.evaluate({"extra": ""}):
            yield requirement, False
        elif any(marker.evaluate({"extra": extra}) for extra in extras):
            yield requirement, True


def _installed_extras(package: str, extras: Iterable[str]) -> list[str]:
    """Those that are there: the first requirement of an extra is what it is for, and others may bring the rest."""
    first: dict[str, str] = {}
    for line in metadata.requires(package) or []:
        requirement = Requirement(line)
        for extra in extras:
            marker = requirement.marker
            if marker and not marker.evaluate({"extra": ""}) and marker.evaluate({"extra": extra}):
                first.setdefault(extra, requirement.name)
    return [extra for extra, name in first.items() if _installed(name)]


def _installed(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
