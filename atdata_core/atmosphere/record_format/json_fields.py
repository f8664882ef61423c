"""Reading the fields of somebody else's JSON, with an error that says where it is malformed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from atdata_core.errors import RefusedError


@dataclass(frozen=True, slots=True)
class Fields:
    """An object inside a record; ``where`` says which, for errors: ``at://... storage.shards[0]``."""

    values: dict[str, Any]
    where: str

    def text(self, name: str) -> str:
        """A text that must be there."""
        value = self.values.get(name)
        if not isinstance(value, str):
            raise self.malformed(name, "a text is needed")
        return value

    def optional_text(self, name: str) -> str | None:
        """A text, or None where there is none."""
        return None if self.values.get(name) is None else self.text(name)

    def texts(self, name: str) -> list[str]:
        """A list of texts that must be there."""
        found: list[str] = []
        for item in self._list(name):
            if not isinstance(item, str):
                raise self.malformed(name, "a list of texts is needed")
            found.append(item)
        return found

    def object(self, name: str) -> Fields:
        """An object that must be there."""
        value = self.values.get(name)
        if not isinstance(value, dict):
            raise self.malformed(name, "an object is needed")
        return Fields(cast("dict[str, Any]", value), f"{self.where} {name}")

    def objects(self, name: str) -> list[Fields]:
        """A list of objects that must be there."""
        found: list[Fields] = []
        for position, item in enumerate(self._list(name)):
            if not isinstance(item, dict):
                raise self.malformed(f"{name}[{position}]", "an object is needed")
            found.append(Fields(cast("dict[str, Any]", item), f"{self.where} {name}[{position}]"))
        return found

    def malformed(self, name: str, problem: str) -> RefusedError:
        """The error for one field."""
        return RefusedError(
            f"{self.where}: `{name}` cannot be read: {problem}. Ask the publisher to mend the record.",
            where=self.where,
            field=name,
        )

    def _list(self, name: str) -> list[Any]:
        value = self.values.get(name)
        if not isinstance(value, list):
            raise self.malformed(name, "a list is needed")
        return cast("list[Any]", value)


def shown(value: object) -> str:
    """A value for an error: a short text or number as it is, of anything else its kind."""
    if isinstance(value, str):
        return repr(value if len(value) <= 100 else f"{value[:100]}...")
    if value is None or (isinstance(value, int) and abs(value) < 2**64):
        return repr(value)
    return type(value).__name__
