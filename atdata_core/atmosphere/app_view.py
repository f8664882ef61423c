"""Search for datasets: an AppView knows those of the whole network, an account's PDS its own.

The AppView answers the queries ``science.alt.dataset.searchDatasets`` (words in name, description and tags), in
which ``repo`` is a DID, ``listEntries`` and ``resolveLabel``.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from atdata_core.atmosphere.atmosphere_index import AtmosphereIndex
from atdata_core.atmosphere.record_format.record_keys import AtUri
from atdata_core.atmosphere.xrpc.answers import refused
from atdata_core.atmosphere.xrpc.session import Session
from atdata_core.errors import RefusedError, ServiceError

if TYPE_CHECKING:
    from atdata_core.atmosphere.client import AtmosphereClient
    from atdata_core.atmosphere.record_format.parse import AtmosphereIndexEntry

_log = logging.getLogger("atdata_core")

VARIABLE = "ATDATA_APPVIEW_URL"
"""Of the environment: the URL of an AppView that indexes datasets."""

_QUERIES = "science.alt.dataset"
_PAGE = 100
_MOST_PAGES = 100


@dataclass(frozen=True, slots=True)
class SearchHit:
    """A dataset that was found. ``current`` as of ``AtmosphereIndexEntry``, where it is known."""

    uri: str
    name: str
    description: str | None
    tags: list[str]
    license: str | None
    current: bool | None = None


class AppView:
    """An AppView that indexes datasets, asked without a login.

    Args:
        url: Its address; ``ATDATA_APPVIEW_URL`` by default.

    Raises:
        RefusedError: None is configured, or its address is none.
    """

    def __init__(self, url: str | None = None) -> None:
        given = url or os.environ.get(VARIABLE, "").strip()
        if not given.startswith(("https://", "http://")):
            raise RefusedError(
                f"{VARIABLE} is {given!r}, which is no URL of an AppView. Set it to one, such as "
                "https://appview.example.org.",
                variable=VARIABLE,
            )
        self.url = given.rstrip("/")
        self._session = Session(self.url)

    def search(
        self, words: Sequence[str], *, tags: Sequence[str] = (), repo: str | None = None
    ) -> Iterator[SearchHit]:
        """Datasets with all of these words and tags, newest first, as they are asked for.

        Which entry is the current one is asked once for each name of an account.

        Args:
            words: In name, description or tags; without any, all datasets count.
            tags: Each as it stands in the record.
            repo: DID of an account, where only its datasets count.

        Raises:
            ServiceError: The AppView does not answer, or does not know these queries.
        """
        text = " ".join(words)
        query = "searchDatasets" if text else "listEntries"
        params = {"repo": repo, "limit": _PAGE, **({"q": text, "tags": list(tags) or None} if text else {})}
        cursor: str | None = None
        labels: dict[tuple[str, str], dict[str, Any] | None] = {}
        for _ in range(_MOST_PAGES):
            reply = self._session.call("GET", f"{_QUERIES}.{query}", params={**params, "cursor": cursor})
            entries: Any = reply.get("entries")
            if not isinstance(entries, list):
                raise refused(
                    f"{self.url} did not answer as an AppView of datasets does. Check {VARIABLE}.", self.url
                )
            for entry in cast("list[Any]", entries):
                hit = _hit(entry)
                if hit is not None and {*tags} <= {*hit.tags}:
                    yield replace(hit, current=self._is_current(hit, labels))
            following: Any = reply.get("cursor")
            if not entries or not isinstance(following, str) or following == cursor:
                return
            cursor = following
        _log.warning(
            "%s has more datasets than the %d pages that were read. More words tell fewer.", self.url, _MOST_PAGES
        )

    def _is_current(self, hit: SearchHit, labels: dict[tuple[str, str], dict[str, Any] | None]) -> bool | None:
        """Whether the label of its name points at it; None where the AppView cannot tell.

        ``labels`` are the answers so far, by account and name.
        """
        try:
            named = AtUri.parse(hit.uri).authority, hit.name
        except RefusedError:
            return None
        if named not in labels:
            labels[named] = self._label(*named)
        label = labels[named]
        return None if label is None else label.get("uri") == hit.uri

    def _label(self, account: str, name: str) -> dict[str, Any] | None:
        params = {"handle": account, "name": name}
        try:
            return self._session.call("GET", f"{_QUERIES}.resolveLabel", params=params)
        except (ServiceError, RefusedError):
            return None


def search_accounts(
    client: AtmosphereClient, accounts: Iterable[str], words: Sequence[str], *, tags: Sequence[str] = ()
) -> Iterator[SearchHit]:
    """As ``AppView.search``, over accounts (DIDs or handles) that are asked one after the other.

    Raises:
        RecordNotFoundError: There is no such account.
        ServiceError: Its PDS does not answer.
    """
    for account in accounts:
        for entry in AtmosphereIndex(client).list_datasets(account):
            if {*tags} <= {*entry.tags} and all(_has(entry, word) for word in words):
                yield SearchHit(entry.uri, entry.name, entry.description, entry.tags, entry.license, entry.current)


def _has(entry: AtmosphereIndexEntry, word: str) -> bool:
    text = "\n".join((entry.name, entry.description or "", *entry.tags))
    return word.casefold() in text.casefold()


def _hit(entry: Any) -> SearchHit | None:
    """An entry as the AppView gives it; None for what is none."""
    if not isinstance(entry, dict):
        return None
    fields = cast("dict[str, Any]", entry)
    uri, name, description, license = (fields.get(each) for each in ("uri", "name", "description", "license"))
    if not isinstance(uri, str) or not isinstance(name, str):
        return None
    tags: Any = fields.get("tags")
    return SearchHit(
        uri,
        name,
        description if isinstance(description, str) else None,
        [tag for tag in cast("list[Any]", tags) if isinstance(tag, str)] if isinstance(tags, list) else [],
        license if isinstance(license, str) else None,
    )
