"""Variables and the folder for what this machine keeps."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from atdata_core.common.names import near
from atdata_core.errors import AtdataError

from .check import CheckResult, Known

PREFIX = "ATDATA_"


def _is_url(value: str) -> str | None:
    try:
        parts = urlsplit(value)
        well = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        well = False
    if not well:
        return "is no http(s) URL"
    return "carries a user or password" if "@" in urlsplit(value).netloc else None


def _is_redis(value: str) -> str | None:
    from atdata_core.state.redis_state import from_url

    try:
        from_url(value)
    except AtdataError:
        return "is no URL of Redis (redis://host:6379/0)"
    return None


def _is_account(value: str) -> str | None:
    from atdata_core.atmosphere.record_format.lexicon import is_did, is_handle

    return None if is_handle(value) or is_did(value) else "is no handle (alice.example.org), without @ before it"


def _is_budget(value: str) -> str | None:
    from atdata_core.atmosphere.xrpc.write_budget import from_environment

    try:
        from_environment()
    except AtdataError:
        return "is neither points an hour / points a day, such as 5000/35000, nor off"
    return None


def _is_executor(value: str) -> str | None:
    from ...config.executors import executor_named

    try:
        executor_named(value)
    except AtdataError as error:
        return f"cannot be used: {error.message}"
    return None


def _is_celery(value: str) -> str | None:
    from ...config.broker import broker_url

    try:
        broker_url()
    except AtdataError:
        return "is no Redis URL that Celery can use, such as redis://localhost:6379/1"
    return None


def _is_absolute(value: str) -> str | None:
    return None if Path(value).expanduser().is_absolute() else "is no absolute path"


def _is_folders(value: str) -> str | None:
    parts = [Path(part.strip()) for part in value.split(os.pathsep) if part.strip()]
    return (
        None
        if all(part.is_absolute() for part in parts)
        else f"names a folder without its absolute path ({os.pathsep!r} stands between two)"
    )


def _is_anything(value: str) -> str | None:
    return None


VARIABLES: Mapping[str, Callable[[str], str | None]] = {
    "ATDATA_REDIS_URL": _is_redis,
    "ATDATA_S3_ENDPOINT": _is_url,
    "AWS_ACCESS_KEY_ID": _is_anything,
    "AWS_SECRET_ACCESS_KEY": _is_anything,
    "ATDATA_PDS_URL": _is_url,
    "ATDATA_PLC_URL": _is_url,
    "ATDATA_HANDLE": _is_account,
    "ATDATA_APP_PASSWORD": _is_anything,
    "ATDATA_PUBLISH_BUCKET": _is_anything,
    "ATDATA_PUBLISH_ENDPOINT": _is_url,
    "ATDATA_PUBLISH_ACCESS_KEY_ID": _is_anything,
    "ATDATA_PUBLISH_SECRET_ACCESS_KEY": _is_anything,
    "ATDATA_PUBLISH_PUBLIC_URL": _is_url,
    "ATDATA_ALLOW_PRIVATE": _is_anything,
    "ATDATA_LOCAL_FOLDERS": _is_folders,
    "ATDATA_STATE_DIR": _is_anything,
    "ATDATA_WRITE_BUDGET": _is_budget,
    "ATDATA_EXECUTOR": _is_executor,
    "ATDATA_CELERY_URL": _is_celery,
    "DAGSTER_HOME": _is_absolute,
}
"""Those of .env.example; each says what is wrong with a value, without repeating it."""

REQUIRED = ("ATDATA_REDIS_URL", "ATDATA_HANDLE", "ATDATA_APP_PASSWORD")
TOGETHER = (
    ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
    ("ATDATA_PUBLISH_ACCESS_KEY_ID", "ATDATA_PUBLISH_SECRET_ACCESS_KEY"),
)
BUCKET = "ATDATA_PUBLISH_BUCKET"


def look_at_variables(known: Known) -> Iterable[CheckResult]:
    """Which are set, and what is wrong with them."""
    given = {name: os.environ[name].strip() for name in VARIABLES if os.environ.get(name, "").strip()}
    problems = list(_problems(given))
    yield from problems
    if not any(problem.state == "error" for problem in problems):
        yield CheckResult("ok", f"{len(given)} set: {', '.join(given)}")
    file = Path.cwd() / ".env"
    if not file.is_file():
        return
    from dotenv import dotenv_values

    values = {name: value for name, value in dotenv_values(file).items() if name in VARIABLES and value}
    same = [name for name, value in values.items() if os.environ.get(name) == value]
    if same:
        yield CheckResult("ok", f"{len(same)} of them as {file} says: {', '.join(same)}")
    other = [name for name in values if name not in same]
    if other:
        yield CheckResult(
            "warning",
            f"{file} says something else for {', '.join(other)} than the environment, which counts more",
            f"Take what is wrong out: `unset {' '.join(other)}`, or out of .env.",
        )


def _problems(given: Mapping[str, str]) -> Iterator[CheckResult]:
    for name in REQUIRED:
        if name not in given:
            yield CheckResult(
                "error", f"{name} is not set", "Set it in the environment or in .env; see .env.example for all."
            )
    for name, value in given.items():
        wrong = VARIABLES[name](value)
        if wrong is not None:
            yield CheckResult("error", f"{name} {wrong}", f"Mend {name}; .env.example shows what it looks like.")
    for pair in TOGETHER:
        there = [name for name in pair if name in given]
        if len(there) == 1:
            [missing] = set(pair) - set(there)
            yield CheckResult("error", f"{there[0]} is set, but not {missing}", f"Set {missing} too, or neither.")
    idle = [name for name in given if name.startswith(f"{PREFIX}PUBLISH_") and name != BUCKET]
    if idle and BUCKET not in given:
        yield CheckResult(
            "warning",
            f"{', '.join(idle)} says where to copy to, but {BUCKET} is not set, so nothing is copied",
            f"Set {BUCKET}, or take the others away.",
        )
    for name in sorted(os.environ):
        if name.startswith(PREFIX) and name not in VARIABLES:
            yield CheckResult(
                "warning",
                f"{name} is no variable that is read.{near(name, VARIABLES)}",
                f"unset {name}, or mend it.",
            )


def look_at_state(known: Known) -> Iterable[CheckResult]:
    """Whether sessions and counts can be kept, for nobody else to read."""
    from atdata_core.common.state_file import state_folder

    mend = "Set ATDATA_STATE_DIR to a folder of your own that can be written."
    try:
        folder = state_folder()
        if not folder.exists():
            folder.mkdir(mode=0o700, parents=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        yield CheckResult("error", f"the state folder cannot be used: {error.strerror or error}", mend)
        return
    open_ones = [path for path in (folder, *folder.rglob("*")) if _is_open(path)] if sys.platform != "win32" else []
    if open_ones:
        more = f" and {len(open_ones) - 1} more" if len(open_ones) > 1 else ""
        yield CheckResult(
            "warning",
            f"others may look into {open_ones[0]}{more}; a session that others may read is not used",
            f"chmod -R go= {folder}",
        )
    else:
        yield CheckResult("ok", f"{folder} is written and read by you alone")


def _is_open(path: Path) -> bool:
    try:
        return bool(stat.S_IMODE(path.lstat().st_mode) & 0o077)
    except FileNotFoundError:
        return False  # taken away meanwhile, by a process that is done with it
