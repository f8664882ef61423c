"""Labels: under which names an account has published datasets, and where a name that somebody writes leads."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

from atdata_core.atmosphere.record_format.lexicon import is_did, is_handle
from atdata_core.atmosphere.record_format.parse import label_target
from atdata_core.atmosphere.record_format.record_keys import LABEL, AtUri, label_rkey
from atdata_core.atmosphere.xrpc.identifiers import identifier_in
from atdata_core.common.names import near, quoted
from atdata_core.errors import EntryNotFoundError, RecordNotFoundError, RefusedError

if TYPE_CHECKING:
    from atdata_core.atmosphere.client import AtmosphereClient, Record


def resolve(client: AtmosphereClient, where: str, *, account: Callable[[], str] | None = None) -> str:
    """The at-uri of a published dataset, however a person names it.

    Args:
        client: Logged in or not.
        where: An at-uri, which is given back; ``@handle/name`` or ``@did:.../name``, what the label of that name
            points at now; ``@handle/name@version``, what the label of that version points at.
        account: Gives the DID or handle that is meant where ``where`` names none.

    Raises:
        EntryNotFoundError: (a ``KeyError``) the account has no such label; names near it are told.
        RecordNotFoundError: (a ``KeyError``) there is no such account.
        RefusedError: (a ``ValueError``) no account is named.
    """
    if where.startswith("at://"):
        return where
    owner, slash, name = where.partition("/")
    owner = identifier_in(owner)
    if slash and name and (is_did(owner) or is_handle(owner)):
        return find_published(client, owner, name)
    if account is None:
        raise RefusedError(
            f"{quoted(where)} names no published dataset. Write @handle/name, such as @lab.example.org/cells, "
            "@handle/name@version, or its at-uri.",
            ref=where,
        )
    return find_published(client, account(), where)


def find_published(client: AtmosphereClient, repo: str, name: str) -> str:
    """The at-uri that the label of a name points at.

    ``name@version`` is the label of that version, where there is none of the whole name. Of a name that has labels
    of versions only, the newest one counts, as it does for the AppView (``science.alt.dataset.resolveLabel``).

    Args:
        client: Logged in or not.
        repo: DID or handle of the account.
        name: The published name.

    Raises:
        EntryNotFoundError: (a ``KeyError``) the account has no such label; names near it are told.
        RecordNotFoundError: (a ``KeyError``) there is no such account.
    """
    did = client.did_of(repo)
    stem, _, version = name.rpartition("@")
    label = _by_key(client, did, name) or (_by_key(client, did, stem, version) if stem else None)
    labels: list[Record] = []
    if label is None:
        labels = list(client.iter_records(LABEL, repo=did))
        label = _first(labels, name) or _first(labels, stem, version)
    if label is None:
        versions = [each for each in labels if each.get("name") == name]
        label = max(versions, key=lambda each: str(each.get("createdAt")), default=None)
    uri = None if label is None else label_target(label.value)
    if uri is not None:
        return uri
    names = {_written(each) for each in labels}
    raise EntryNotFoundError(
        f"{repo} has published nothing under the name {name!r}.{near(name, sorted(names))} A dataset without a "
        "label is found by its at-uri alone.",
        ref=name,
    )


def find_label(client: AtmosphereClient, did: str, name: str) -> Record | None:
    """The label of a name in an account; None where there is none.

    Under its own key it costs one request. Else the account's labels are listed: another program's label of
    that name has a key that says nothing.
    """
    return _by_key(client, did, name) or _first(client.iter_records(LABEL, repo=did), name)


class Labelled(NamedTuple):
    """What the label of a name points at. ``ours``: the key is the one that this program gives such a label."""

    uri: str
    ours: bool


def all_labelled(client: AtmosphereClient, repo: str) -> dict[str, Labelled]:
    """What an account has published by its labels without a version, by name; one request for a hundred of them.

    Of two labels of a name the one counts that ``find_label`` finds.
    """
    did = client.did_of(repo)
    found: dict[str, Labelled] = {}
    for label in client.iter_records(LABEL, repo=did):
        name, uri = label.value.get("name"), label_target(label.value)
        if isinstance(name, str) and uri is not None and _is_of(label, name):
            labelled = Labelled(uri, AtUri.parse(label.uri).rkey == label_rkey(did, name))
            if labelled.ours or name not in found:
                found[name] = labelled
    return found


def _by_key(client: AtmosphereClient, did: str, name: str, version: str | None = None) -> Record | None:
    try:
        label = client.read_at_home(AtUri(did, LABEL, label_rkey(did, name, version)))
    except RecordNotFoundError:
        return None
    return label if _is_of(label, name, version) else None


def _first(labels: Iterable[Record], name: str, version: str | None = None) -> Record | None:
    return next((label for label in labels if _is_of(label, name, version)), None)


def _is_of(label: Record, name: str, version: str | None = None) -> bool:
    return label.get("name") == name and label.get("version") == version


def _written(label: Record) -> str:
    """As a person would write what the label points at."""
    version = label.get("version")
    return str(label.get("name")) if version is None else f"{label.get('name')}@{version}"
