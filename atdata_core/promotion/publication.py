"""Account, published name and entry CID: what a publication is known by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..atmosphere.record_format.nsids import ENTRY
from ..atmosphere.record_format.record_keys import entry_rkey, label_rkey
from ..common.names import check_dataset_name
from ..state.facts import PublicationId

if TYPE_CHECKING:
    from ..protocols import IndexEntry


class Publication(PublicationId):
    """Account, published name and entry CID: the same three, the same records."""

    __slots__ = ()

    @property
    def rkey(self) -> str:
        """Record key of the entry record."""
        return entry_rkey(self.did, self.name, self.cid)

    @property
    def uri(self) -> str:
        """At-uri of the entry record."""
        return f"at://{self.did}/{ENTRY}/{self.rkey}"

    @property
    def label_rkey(self) -> str:
        """Record key of the label; the versions of a name share it."""
        return label_rkey(self.did, self.name)


def publication_of(entry: IndexEntry, cid: str, did: str, name: str | None) -> Publication:
    """The publication of an entry under its own or another name; ``DatasetNameError``."""
    published = entry.name if name is None else name
    check_dataset_name(published)
    return Publication(did, published, cid)
