"""What a command works with: index, account and store, as the environment names them."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from atdata_core.common.names import LOCAL, near, quoted
from atdata_core.errors import AtdataError, EntryNotFoundError
from atdata_core.promotion.options import OPTIONS, Option

from .command import PROGRAM
from .screen import aside

if TYPE_CHECKING:
    from atdata_core.atmosphere import AtmosphereClient
    from atdata_core.local import LocalDatasetEntry, LocalIndex, S3DataStore
    from atdata_core.state.ledger import Ledger

    from ..config.settings import Settings


@contextmanager
def said() -> Iterator[None]:
    """Turns an error of ours into the command's last line, without a stack trace."""
    try:
        yield
    except AtdataError as error:
        raise click.ClickException(error.message) from None


def confirm(question: str, *, yes: bool) -> None:
    """Ask a person before something is done; ``yes`` is the answer given beforehand.

    Raises:
        click.ClickException: There is nobody to ask.
        click.Abort: The answer was no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.ClickException(
            "Nothing was done: there is no terminal to ask at. Say --yes if it is to be done."
        )
    with aside():
        click.confirm(question, default=False, abort=True, err=True)


def promotion_of(dataset: str, name: str | None = None) -> str:
    """The command that promotes a dataset, as it is typed; ``name`` is the published one, where it differs."""
    other = "" if name in (None, dataset) else f" --name {shlex.quote(name)}"
    return f"{PROGRAM} promote {shlex.quote(dataset)}{other}"


def index() -> LocalIndex:
    """The index of local datasets; raises ``MissingVariableError``."""
    from ..config import environment

    return environment.index()


def entry(name: str, index: LocalIndex) -> LocalDatasetEntry:
    """The current entry of a name, or ``@local/name``; ``EntryNotFoundError`` names those that are near it."""
    name = name.removeprefix(LOCAL)
    try:
        return index.get_entry_by_name(name)
    except EntryNotFoundError:
        raise unknown(name, index) from None


def unknown(name: str, index: LocalIndex) -> EntryNotFoundError:
    """That the index has no dataset of that name, in words for a command line."""
    return EntryNotFoundError(
        f"The index has no dataset {quoted(name)}. `{PROGRAM} list` shows what is there, `{PROGRAM} add` adds one."
        f"{near(name, index.names())}",
        ref=name,
    )


def complete_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Names of datasets, for a shell to complete; none where the index cannot be asked."""
    from dotenv import load_dotenv

    load_dotenv(".env")
    try:
        return [name for name in index().names() if name.startswith(incomplete)]
    except AtdataError:
        return []


def time_of(milliseconds: int | None) -> str | None:
    """A time of an entry as all commands tell it: ISO 8601, UTC."""
    return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat()


def ledger() -> Ledger:
    """The ledger beside that index."""
    from atdata_core.state.index_state import state_of

    return state_of(index()).ledger


def client() -> AtmosphereClient:
    """The account that publishes, logged in; raises ``MissingVariableError``, ``LoginError``."""
    from ..config.resources import AtprotoResource

    return AtprotoResource().client()


def store(settings: Settings) -> S3DataStore | None:
    """Where copies of an instance go; None where shards stay. Raises ``MissingVariableError``."""
    return settings.destination.outside_of_runs().store(settings.s3.outside_of_runs().endpoint())


def account() -> str:
    """DID of the account, found without a login; raises ``MissingVariableError``, ``RecordNotFoundError``."""
    from ..config import environment

    return environment.did_of(environment.pds_url(), environment.handle())


def uri_of(named: str, client: AtmosphereClient) -> str:
    """The at-uri of a published dataset, as ``labels.resolve`` takes it, or of a name of the account in use.

    Raises ``EntryNotFoundError``, ``RecordNotFoundError``, ``MissingVariableError``.
    """
    from atdata_core.atmosphere.labels import resolve

    return resolve(client, named, account=account)


CommandFunction = TypeVar("CommandFunction", bound=Callable[..., Any])


def value_options(command: CommandFunction) -> CommandFunction:
    """Gives a command these options; it takes them as ``**options``, as ``PromotionConfig`` does."""
    for option in reversed(OPTIONS.values()):
        if option.command is not None:
            command = _click(option)(command)
    return command


def _click(option: Option) -> Callable[[CommandFunction], CommandFunction]:
    flag = option.name.replace("_", "-")
    if option.type == Sequence[str] | None:
        one = f"--{flag.removesuffix('s')}"
        return click.option(one, option.name, multiple=True, callback=_given, help=option.command)
    if option.type == bool | None:
        return click.option(f"--{flag}/--no-{flag}", default=None, help=option.command)
    return click.option(f"--{flag}", is_flag=option.type is bool, help=option.command)


def _given(context: click.Context, parameter: click.Parameter, values: Sequence[str]) -> list[str] | None:
    return [each for each in values if each] if values else None


prefix_option = click.option(
    "--key-prefix", help="Of the component that is meant, such as lab/images, where a project has several."
)
