"""What a look at a published dataset found: where it is not what its record says, and what was looked at."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from ...common.urls import displayed
from ...errors import AtdataError, PrivateAddressError, ServiceError, ShardForbiddenError
from ..stages.schema_stage import Compatibility

Subject = Literal["record", "schema", "label", "shards", "samples"]
State = Literal["ok", "private", "failed"]
LONGEST = 400
"""Characters of a text that came from the network."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be.

    ``kind`` is ``differs`` (what is there is not what was published) or ``unreachable`` (it could not be
    looked at, so nothing is known of it). ``where`` is an at-uri or the URL of a shard.
    """

    subject: Subject
    kind: Literal["differs", "unreachable"]
    where: str
    problem: str
    expected: str | None = None
    found: str | None = None

    def __str__(self) -> str:
        compared = [f"{word} {value}" for word, value in self._compared() if value is not None]
        text = f"{self.where}: {self.problem}" + (f" ({', '.join(compared)})" if compared else "")
        return text if self.kind == "differs" else f"could not be checked: {text}"

    def _compared(self) -> Iterable[tuple[str, str | None]]:
        return ("expected", self.expected), ("found", self.found)


@dataclass(frozen=True, slots=True)
class Verification:
    """What a verification looked at and found.

    Attributes:
        uri: Of the entry record, with a DID where it could be resolved.
        cid: Of the entry record; None where it could not be read.
        name: The published name; None where it could not be read.
        license: As it is published.
        signed_by: DID of the account whose signed repository holds the entry record; None where that is not proven.
        findings: All that is not as published; empty means that everything looked at is.
        notes: What a reader should know, and what is no error.
        shards: Shards that the record names.
        looked_at: URLs of the shards that were to be read: all, or the part that was asked for.
        shards_checked: Of these, those that were read to their end.
        anonymous: Of these, those that anybody can read; the others needed the keys of this machine.
        bytes_read: Bytes of shards.
        samples: Samples that were found in them.
        compatibility: The schema beside the version before it; None where that could not be told.
    """

    uri: str
    cid: str | None = None
    name: str | None = None
    license: str | None = None
    signed_by: str | None = None
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    shards: int = 0
    looked_at: tuple[str, ...] = ()
    shards_checked: int = 0
    anonymous: int = 0
    bytes_read: int = 0
    samples: int = 0
    compatibility: Compatibility | None = None

    @property
    def ok(self) -> bool:
        """Whether everything could be looked at and is as published."""
        return not self.findings

    @property
    def state(self) -> State:
        """``failed`` where anything was found; else ``private`` where some could not be read anonymously."""
        if self.findings:
            return "failed"
        return "ok" if self.anonymous == self.shards_checked else "private"

    @property
    def readers(self) -> str:
        """Who can read what was read, in words."""
        if self.anonymous == self.shards_checked:
            return "readable by anybody"
        unread = self.shards_checked - self.anonymous
        return f"{unread} of the shards cannot be read anonymously (but with this machine's keys)"

    def of(self, *subjects: Subject) -> tuple[Finding, ...]:
        """The findings about some subjects."""
        return tuple(finding for finding in self.findings if finding.subject in subjects)

    def to_json(self) -> dict[str, Any]:
        """The result as a JSON object."""
        return {"state": self.state, "ok": self.ok, **asdict(self)}


@dataclass(slots=True)
class Report:
    """Findings and notes, as the checks add to them."""

    findings: list[Finding] = field(default_factory=list[Finding])
    notes: list[str] = field(default_factory=list[str])

    def differs(
        self,
        subject: Subject,
        where: str,
        problem: str,
        expected: object | None = None,
        found: object | None = None,
    ) -> None:
        """Add what is there and not as published."""
        compared = [None if value is None else plain(str(value)) for value in (expected, found)]
        self.findings.append(Finding(subject, "differs", plain(displayed(where)), plain(problem), *compared))

    def error(self, subject: Subject, where: str, error: AtdataError) -> None:
        """Add the finding of an error."""
        self.findings.append(of_error(subject, where, error))

    def note(self, text: str) -> None:
        """Add what a reader should know, and what is no error."""
        self.notes.append(plain(text))


def of_error(subject: Subject, where: str, error: AtdataError) -> Finding:
    """The finding of an error: a refusal and a failing service say nothing about what lies there."""
    unknown = isinstance(error, ServiceError | ShardForbiddenError | PrivateAddressError)
    kind = "unreachable" if unknown else "differs"
    return Finding(subject, kind, plain(displayed(where)), plain(error.message))


def plain(text: str) -> str:
    """A text from the network for a terminal: one line, of bounded length, nothing that controls it."""
    cut = text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in cut
    )
