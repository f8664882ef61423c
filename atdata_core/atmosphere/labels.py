"""Labels: under which names an account has published datasets, and where a name that somebody writes leads."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from atdata_core.atmosphere.record_format.lexicon import is_did, is_handle
from atdata_core.atmosphere.record_format.parse import label_target
from atdata_core.atmosphere.record_format.record_keys import LABEL, AtUri, label_rkey
from atdata_core.atmosphere.xrpc.identifiers import identifier_in
from atdata_core.common.names import near, quoted
from atdata_core.errors import AtdataError, EntryNotFoundError, RecordNotFoundError, RefusedError

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
    if label is not None and (uri := _target(label)) is not None:
        return uri
    labels = AccountLabels(client, did)
    label = labels.of(name) or labels.of(stem, version)
    uri = None if label is None else _target(label)
    if uri is not None:
        return uri
    raise EntryNotFoundError(
        f"{repo} has published nothing under the name {name!r}.{near(name, labels.written())} A dataset without a "
        "label is found by its at-uri alone.",
        ref=name,
    )


def find_label(client: AtmosphereClient, did: str, name: str) -> Record | None:
    """The label of a name in an account; None where there is none.

    Under its own key it costs one request. Else the account's labels are listed: another program's label of
    that name has a key that says nothing. One that points at nothing is found where there is no other.
    """
    own = _by_key(client, did, name)
    if own is not None and _target(own) is not None:
        return own
    found = [label for label in client.iter_records(LABEL, repo=did) if _is_of(label, name)]
    return min(found, key=lambda label: _target(label) is None, default=None)


class Labelled(NamedTuple):
    """What the label of a name points at. ``ours``: the key is the one that this program gives such a label."""

    uri: str
    ours: bool


class AccountLabels:
    """The labels of an account, read once: where each of its names leads; one request for a hundred of them.

    Of two labels of a name the one counts that points at a record, of two such the one that has the key which this
    program gives it, else the first that is listed.

    Args:
        client: Logged in or not.
        repo: DID or handle of the account.

    Raises:
        RecordNotFoundError: There is no such account.
    """

    def __init__(self, client: AtmosphereClient, repo: str) -> None:
        self._client, self.did = client, client.did_of(repo)
        self._chosen: dict[str, dict[str | None, Record]] = {}
        self._pointing: dict[str, list[Record]] = {}
        for label in client.iter_records(LABEL, repo=self.did):
            name, version, target = label.get("name"), label.get("version"), label_target(label.value)
            if not isinstance(name, str) or not isinstance(version, str | None) or target is None:
                continue
            of_name = self._chosen.setdefault(name, {})
            if version not in of_name or self._rank(label) > self._rank(of_name[version]):
                of_name[version] = label
            self._pointing.setdefault(_key_of(target), []).append(label)

    def of(self, name: str, version: str | None = None) -> Record | None:
        """The label of a name, or of a version of it; of a name that has labels of versions only the newest one."""
        of_name = self._chosen.get(name, {})
        chosen = of_name.get(version)
        if version is not None or (chosen is not None and _target(chosen) is not None):
            return chosen
        pointing = [label for label in of_name.values() if _target(label) is not None]
        return max(pointing, key=lambda label: label.created, default=chosen)

    def is_current(self, name: str, uri: str) -> bool | None:
        """Whether a name leads to an entry (at-uri with a DID); None where it leads nowhere."""
        label = self.of(name)
        return None if label is None else self._points_at(label, uri)

    def version_of(self, uri: str) -> str | None:
        """The version of the newest label with one that points at an entry; None where there is none."""
        labels = self._pointing.get(_key_of(uri), [])
        found = [each for each in labels if each.get("version") is not None and self._points_at(each, uri)]
        newest = max(found, key=lambda label: label.created, default=None)
        return None if newest is None else str(newest.get("version"))

    def without_version(self) -> dict[str, Labelled]:
        """The labels without a version, by name."""
        labels = {name: of_name[None] for name, of_name in self._chosen.items() if None in of_name}
        return {
            name: Labelled(str(label_target(label.value)), self._is_ours(label)) for name, label in labels.items()
        }

    def written(self) -> list[str]:
        """All names in order, as a person would write them: ``name`` or ``name@version``."""
        return sorted(
            name if version is None else f"{name}@{version}"
            for name, of_name in self._chosen.items()
            for version in of_name
        )

    def _rank(self, label: Record) -> tuple[bool, bool]:
        return _target(label) is not None, self._is_ours(label)

    def _is_ours(self, label: Record) -> bool:
        return AtUri.parse(label.uri).rkey == label_rkey(self.did, label.value["name"], label.get("version"))

    def _points_at(self, label: Record, uri: str) -> bool:
        """Its target may name the account by a handle, of which the DID is asked where all else is the same."""
        target = str(label_target(label.value))
        if target == uri or _key_of(target) != _key_of(uri):
            return target == uri
        try:
            at = AtUri.parse(target)
            return str(AtUri(self._client.did_of(at.authority), at.collection, at.rkey)) == uri
        except AtdataError:
            return False


def all_labelled(client: AtmosphereClient, repo: str) -> dict[str, Labelled]:
    """What an account has published by its labels without a version, by name."""
    return AccountLabels(client, repo).without_version()


def _key_of(uri: str) -> str:
    return uri.rpartition("/")[2]


def _target(label: Record) -> str | None:
    """The at-uri that a label points at; None where what it tells is none."""
    target = label_target(label.value)
    try:
        AtUri.parse(target or "")
    except RefusedError:
        return None
    return target


def _by_key(client: AtmosphereClient, did: str, name: str, version: str | None = None) -> Record | None:
    try:
        label = client.read_at_home(AtUri(did, LABEL, label_rkey(did, name, version)))
    except RecordNotFoundError:
        return None
    return label if _is_of(label, name, version) else None


def _is_of(label: Record, name: str, version: str | None = None) -> bool:
    return label.get("name") == name and label.get("version") == version
