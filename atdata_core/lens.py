"""Lenses: how samples of one type are seen, and changed, as samples of another, in this process."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import update_wrapper
from itertools import permutations
from types import FrameType
from typing import Any, Generic, TypeVar, cast

from .errors import LensNotFoundError, RefusedError

S = TypeVar("S")
V = TypeVar("V")


class Lens(Generic[S, V]):
    """Sees a sample of one type as one of another, and puts a changed view back.

    Attributes:
        source_type: What the getter takes.
        view_type: What it gives.
    """

    source_type: type[S]
    view_type: type[V]

    def __init__(self, get: Callable[[S], V], put: Callable[[V, S], S] | None = None) -> None:
        """Make a lens of ``get(source) -> view`` and ``put(view, source) -> source``.

        Without a putter a changed view changes nothing.

        Raises:
            RefusedError: (a ``ValueError``) the getter has not exactly one parameter, or does not say of which
                types parameter and answer are.
        """
        update_wrapper(self, get)
        self._get = get
        self._put: Callable[[V, S], S] = put or (lambda _view, source: source)
        self.source_type, self.view_type = _types_of(get)

    def putter(self, put: Callable[[V, S], S]) -> Callable[[V, S], S]:
        """Decorator: ``put(view, source) -> source`` is how a changed view is put back."""
        self._put = put
        return put

    def get(self, s: S) -> V:
        """The view of a sample ``s``."""
        return self._get(s)

    __call__ = get

    def put(self, v: V, s: S) -> S:
        """The sample that has the view ``v``, and is like ``s`` in all that the view does not show."""
        return self._put(v, s)

    def broken_laws(self, source: S, views: Sequence[V] = ()) -> list[str]:
        """Those of ``GetPut``, ``PutGet`` and ``PutPut`` that do not hold for these samples; none if well-behaved.

        GetPut: what was seen, put back, changes nothing. PutGet: what was put is seen. PutPut: of two views that
        are put, the last one counts.
        """
        held = {
            "GetPut": self.put(self.get(source), source) == source,
            "PutGet": all(self.get(self.put(view, source)) == view for view in views),
            "PutPut": all(
                self.put(last, self.put(first, source)) == self.put(last, source)
                for first, last in permutations(views, 2)
            ),
        }
        return [law for law, holds in held.items() if not holds]

    def __reduce__(self) -> str | tuple[Any, ...]:
        # Like a function, by its name: a DataLoader's workers import it.
        return cast("Any", self).__qualname__


class _Typing(Lens[Any, V]):
    """Shows samples whose type was not known as those of a type."""

    def __init__(self, view: type[V]) -> None:
        from .samples import DictSample

        made: Any = view
        self.source_type, self.view_type = DictSample, view
        self._get = made.from_data
        self._put = lambda view, _source: DictSample.from_bytes(cast("Any", view).packed)

    def __reduce__(self) -> tuple[Any, ...]:
        return _Typing, (self.view_type,)


class LensNetwork:
    """The lenses of this process; there is one such network.

    From ``DictSample`` a lens leads to every sample type, without being written.
    """

    _lenses: dict[tuple[type, type], Lens[Any, Any]] = {}  # noqa: RUF012 - there is one
    _only: LensNetwork | None = None

    def __new__(cls) -> LensNetwork:
        """The network of this process."""
        if LensNetwork._only is None:
            LensNetwork._only = super().__new__(cls)
        return LensNetwork._only

    def register(self, lens: Lens[Any, Any]) -> None:
        """Make a lens the one between its types; an earlier one goes."""
        self._lenses[lens.source_type, lens.view_type] = lens

    def transform(self, source: type[S], view: type[V]) -> Lens[S, V]:
        """The lens from one type to another.

        Raises:
            LensNotFoundError: (a ``ValueError``) there is none.
        """
        # NumPy is loaded with samples, not with this package.
        from .samples import DictSample, PackableSample

        found = self._lenses.get((source, view))
        if found is None and issubclass(source, DictSample) and issubclass(view, PackableSample):
            return cast("Lens[S, V]", _Typing(view))
        if found is None:
            raise LensNotFoundError(
                f"No registered lens from {source.__name__} to {view.__name__}. Write one: @lens "
                f"def name(source: {source.__name__}) -> {view.__name__}.",
                source=source.__name__,
                view=view.__name__,
            )
        return found


def lens(get: Callable[[S], V]) -> Lens[S, V]:
    """Decorator: a getter becomes a lens, which ``Dataset.as_type`` finds. Raises as ``Lens``."""
    made = Lens(get)
    LensNetwork().register(made)
    return made


def _types_of(get: Callable[..., Any]) -> tuple[type[Any], type[Any]]:
    """Source and view, by the annotations of a getter."""
    name = getattr(get, "__name__", "a lens")
    try:
        # Types may be local to the function that makes the lens.
        signature = inspect.signature(get, locals=_caller().f_locals, eval_str=True)
    except NameError as error:
        raise RefusedError(f"The lens {name} names a type that is not there: {error}. Define it before.") from None
    parameters = list(signature.parameters.values())
    if len(parameters) != 1:
        raise RefusedError(
            f"The getter of a lens has exactly one parameter, the source, but {name} has {len(parameters)}."
        )
    types = parameters[0].annotation, signature.return_annotation
    if inspect.Signature.empty in types or not all(isinstance(each, type) for each in types):
        raise RefusedError(
            f"The lens {name} does not say between which types it goes. Annotate it with classes: "
            f"def {name}(source: Source) -> View."
        )
    return types


def _caller() -> FrameType:
    """The innermost frame outside of this file."""
    frame = cast("FrameType", inspect.currentframe())
    while frame.f_globals.get("__name__") == __name__ and frame.f_back:
        frame = frame.f_back
    return frame
