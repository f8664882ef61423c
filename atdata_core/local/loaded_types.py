"""The sample types that an index was asked for, by their names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping


class LoadedTypes(Mapping[str, type]):
    """``index.types.MySample``: what ``index.load_schema`` loaded; of two with one name, the later."""

    def __init__(self) -> None:
        self._types: dict[str, type] = {}

    def add(self, sample_type: type) -> None:
        """Have a type here from now on."""
        self._types[sample_type.__name__] = sample_type

    def __getattr__(self, name: str) -> type:
        # Where a copy or a pickle is being made, there is nothing yet.
        if name not in self.__dict__.get("_types", ()):
            raise AttributeError(f"The type {name!r} is not loaded. Call index.load_schema(ref) first.")
        return self._types[name]

    def __getitem__(self, name: str) -> type:
        return self._types[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._types)

    def __len__(self) -> int:
        return len(self._types)

    def __repr__(self) -> str:
        return f"LoadedTypes({', '.join(self._types) or 'empty'})"
