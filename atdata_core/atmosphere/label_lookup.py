"""From the name of a dataset to its label and entry, for anybody: no login, no index."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from atdata_core.atmosphere.record_format.parse import label_target
from atdata_core.atmosphere.record_format.record_keys import LABEL, AtUri, label_rkey
from atdata_core.common.names import near
from atdata_core.errors import EntryNotFoundError, RecordNotFoundError

if TYPE_CHECKING:
    from atdata_core.atmosphere.client import AtmosphereClient, Record


def find_label(client: AtmosphereClient, did: str, name: str) -> Record | None:
    """The label of a name in an account; None where there is none.

    Under its own key it costs one request. Else the account's labels are listed: another program's label of
    that name has a key that says nothing.
    """
    found = _by_key(client, did, name)
    return found or next((label for label in client.iter_records(LABEL, repo=did) if _is_of(label, name)), None)


def find_published(client: AtmosphereClient, repo: str, name: str) -> str:
    """The at-uri that the label of a name points at.

    Args:
        client: Logged in or not.
        repo: DID or handle of the account.
        name: The published name.

    Raises:
        EntryNotFoundError: (a ``KeyError``) the account has no such label; names near it are told.
        RecordNotFoundError: There is no such account.
    """
    did = client.did_of(repo)
    label = find_label(client, did, name)
    uri = None if label is None else label_target(label.value)
    if uri is not None:
        return uri
    names = {str(each.value.get("name")) for each in client.iter_records(LABEL, repo=did)}
    raise EntryNotFoundError(
        f"{repo} has published nothing under the name {name!r}.{near(name, sorted(names))} A dataset without a "
        "label is found by its at-uri alone.",
        ref=name,
    )


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


def _by_key(client: AtmosphereClient, did: str, name: str) -> Record | None:
    try:
        label = client.read_at_home(AtUri(did, LABEL, label_rkey(did, name)))
    except RecordNotFoundError:
        return None
    return label if _is_of(label, name) else None


def _is_of(label: Record, name: str) -> bool:
    return label.value.get("name") == name and label.value.get("version") is None
