"""Samples as they lie in a shard, for who does not know their type."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Self

from ..errors import SampleError
from .field_types import SampleField, packed_map
from .sample_types import new_key, packed_payload


class DictSample(Mapping[str, Any]):
    """A sample of any type: ``sample.name`` and ``sample["name"]`` are its fields, which cannot be changed.

    Arrays are the bytes that were packed; ``Dataset.as_type`` shows such samples as any sample type. It has no
    schema, so it cannot be stored in an index or published.
    """

    __slots__ = ("_data",)
    __sample_fields__: ClassVar[tuple[SampleField, ...]] = ()

    _data: Mapping[str, Any]

    def __init__(self, _data: Mapping[str, Any] | None = None, **fields: Any) -> None:
        """Make a sample of a map, or of fields by their names."""
        self._data = fields if _data is None else dict(_data)

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        """A sample from its msgpack map.

        Raises:
            SampleError: It is no map, or one of its keys is no text.
        """
        if not isinstance(data, Mapping) or not all(isinstance(key, str) for key in data):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise SampleError(
                f"A sample is a map of its fields, but a {type(data).__name__} without names is there. "
                "It is damaged or was written by another program.",
                type_name=cls.__name__,
            )
        return cls(data)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The inverse of ``packed``; raises ``SampleError`` as ``from_data``."""
        return cls.from_data(packed_map(data, cls.__name__))

    @property
    def packed(self) -> bytes:
        """The sample as one msgpack map; raises ``SampleError`` where a value cannot be kept."""
        return packed_payload(self.to_dict(), type(self).__name__)

    @property
    def as_wds(self) -> dict[str, Any]:
        """``{"__key__": a new unique key, "msgpack": the packed sample}``, as webdataset writes it."""
        return {"__key__": new_key(), "msgpack": self.packed}

    def to_dict(self) -> dict[str, Any]:
        """The fields, in a dict of one's own."""
        return dict(self._data)

    def __getattr__(self, name: str) -> Any:
        # Where a copy or a pickle is being made, there is no _data yet.
        if name == "_data" or name not in self._data:
            raise AttributeError(f"{type(self).__name__} has no field {name!r}; keys() shows those that it has.")
        return self._data[name]

    def __getitem__(self, key: str) -> Any:
        return self._data[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._data)

    def __len__(self) -> int:
        return len(self._data)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self._data.items())})"
