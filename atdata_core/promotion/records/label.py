"""The labels of a name: the one that follows the index, and those of versions, which stay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...atmosphere.record_format.build import label_record
from ...atmosphere.record_format.record_keys import ENTRY, LABEL, label_rkey
from ...errors import RecordChangedError
from ...state.facts import LABEL_NOTE, VERSION_LABEL_NOTE, VERSION_TARGET, VersionTarget
from ...state.ledger import Ledger, timestamp
from .upsert import ROUNDS, Created, RecordHistory, RecordUpsert, Steps, current, find

if TYPE_CHECKING:
    from ...atmosphere.client import AtmosphereClient, Record
    from ...protocols import IndexEntry
    from ..inventory import Publication
    from ..options import PromotionOptions


@dataclass(frozen=True, slots=True)
class Label:
    """The label after a promotion; ``uri`` is None where none points at this publication.

    ``current`` is the CID of the entry that the index gives for the dataset.
    """

    uri: str | None
    cid: str | None
    change: str
    current: str
    note: str | None = None


class NameLabel:
    """The label of a published name: it points at the entry that the index gives for the dataset.

    Promoting an old entry object never moves it back: where the index has a newer entry, the label points at
    that one once it is published, and is left alone until then.
    """

    def __init__(
        self,
        entry: IndexEntry,
        publication: Publication,
        client: AtmosphereClient,
        ledger: Ledger,
        options: PromotionOptions,
    ) -> None:
        self._entry = entry
        self._publication = publication
        history = RecordHistory(ledger, LABEL_NOTE(entry.name, publication.did, publication.name))
        self._record = RecordUpsert(publication.did, LABEL, publication.label_rkey, history, options, client.now)
        self._current = publication

    def check(self) -> None:
        """Refuse what the network would refuse, whatever stands there; raises ``PreflightError``."""
        self._record.check(_record(self._publication, None, timestamp))

    def look(self) -> Steps[None]:
        """Refuse, before anything is written, what ``point`` could not set; raises as ``RecordUpsert.look``."""
        yield from self._record.look(self._as_it_will_be)

    def dry_run(self) -> Steps[str]:
        """What ``point`` would do: ``create``, ``update`` or ``keep``."""
        return self._record.dry_run(self._as_it_will_be)

    def point(self) -> Steps[Label]:
        """Point the label at the current entry; read the index again afterwards.

        Raises:
            PreflightError, RecordGoneError, RecordChangedError: It was not written.
        """
        change = "unchanged"
        for _ in range(ROUNDS):
            written, did = yield from self._record.apply(self._wanted)
            if written is None or did is None:
                return Label(
                    None,
                    None,
                    change,
                    self._current.cid,
                    f"The index has a newer entry for {self._entry.name!r}: its promotion sets the label.",
                )
            change = did if change == "unchanged" else change
            if (yield from current(self._entry)) == self._current.cid:
                if self._current == self._publication:
                    return Label(written.uri, written.cid, change, self._current.cid)
                note = f"The label of {self._publication.name!r} points at its newer entry."
                return Label(None, None, change, self._current.cid, note)
        raise RecordChangedError(
            f"The index kept changing its entry for {self._entry.name!r} while its label was written. Run again.",
            uri=self._record.uri,
            fields=["datasetUri"],
        )

    def _wanted(self, existing: Record | None, created: Created) -> Steps[dict[str, Any] | None]:
        self._current = self._publication._replace(cid=(yield from current(self._entry)))
        if self._current != self._publication and (yield from find(ENTRY, self._current.rkey)) is None:
            return None
        return _record(self._current, None, created)

    def _as_it_will_be(self, existing: Record | None, created: Created) -> Steps[dict[str, Any] | None]:
        """The label once this publication's entry is written."""
        if (yield from current(self._entry)) != self._publication.cid:
            return (yield from self._wanted(existing, created))
        return _record(self._publication, None, created)


class VersionLabel:
    """A label of a name and a version. It stays with the entry that it was made for."""

    def __init__(
        self,
        entry: IndexEntry,
        publication: Publication,
        version: str,
        client: AtmosphereClient,
        ledger: Ledger,
        options: PromotionOptions,
    ) -> None:
        rkey = label_rkey(publication.did, publication.name, version)
        self._publication = publication
        self._version = version
        self._take_over = options.take_over
        self._ledger, self._dataset, self._rkey = ledger, entry.name, rkey
        history = RecordHistory(ledger, VERSION_LABEL_NOTE(entry.name, rkey))
        self._record = RecordUpsert(publication.did, LABEL, rkey, history, options, client.now)

    def check(self) -> None:
        """Refuse what the network would refuse, whatever stands there; raises ``PreflightError``."""
        self._record.check(_record(self._publication, self._version, timestamp))

    def look(self) -> Steps[None]:
        """Refuse, before anything is written, a version that stands for another entry."""
        existing = yield from self._record.look(self._wanted, surely=True)
        if existing is not None:
            yield from self._wanted(existing, timestamp)

    def dry_run(self) -> Steps[str]:
        """What ``point`` would do: ``create`` or ``keep``, or ``update`` where it is taken over."""
        return self._record.dry_run(self._wanted)

    def point(self) -> Steps[str]:
        """Make the label, or see that it is there; its at-uri. Raises as ``NameLabel.point``."""
        written, _ = yield from self._record.apply(self._wanted)
        assert written is not None
        note_version(self._ledger, self._dataset, self._rkey, self._publication, self._version)
        return written.uri

    def _wanted(self, existing: Record | None, created: Created) -> Steps[dict[str, Any] | None]:
        yield from ()  # nothing has to be asked for it
        elsewhere = existing.value.get("datasetUri") if existing else None
        if elsewhere is not None and elsewhere != self._publication.uri and not self._take_over:
            raise RecordChangedError(
                f"Version {self._version!r} of {self._publication.name!r} is {elsewhere}, and versions stay. Give "
                "this entry another version, or take that one over: take_over=True, or --take-over.",
                uri=self._record.uri,
                fields=["datasetUri"],
            )
        return _record(self._publication, self._version, created)


def note_version(ledger: Ledger, dataset: str, rkey: str, publication: Publication, version: str) -> None:
    """Note what the label of a version stands for, so that one that vanished can be made again."""
    ledger.put(VERSION_TARGET(dataset, rkey), VersionTarget(publication.name, publication.cid, version))


def _record(publication: Publication, version: str | None, created: Created) -> dict[str, Any]:
    return label_record(name=publication.name, dataset_uri=publication.uri, version=version, created_at=created())
