"""What one promotion is asked to do."""

from __future__ import annotations

from dataclasses import dataclass

from .values import Values


@dataclass(frozen=True, slots=True)
class PromotionOptions:
    """What a person, a sensor or a schedule asks of one promotion.

    Attributes:
        name: The name to publish under; None is the entry's own.
        values: Description, tags, license and where shards lie, where something is said.
        version: Of a second, fixed label; None makes none.
        take_over: Write over a record or label that was edited elsewhere.
        restore: Write again what was deleted on the network, or retracted. Without it such a dataset is left
            alone, and the ledger notes why.
        require_public: Refuse shards that a stranger cannot read.
        allow_private: Publish shards that strangers cannot read in the place of those that they can.
        require_license: Refuse to publish without a license that SPDX knows.
        require_compatible: Refuse a schema that breaks with the version before it, unless its version says so.
        run: Names the run: one that is tried again keeps its place in the order of what people say.
        defaults: Where neither a person nor the entry's metadata say anything.
    """

    name: str | None = None
    values: Values = Values()  # noqa: RUF009 - frozen
    version: str | None = None
    take_over: bool = False
    restore: bool = True
    require_public: bool = False
    run: str | None = None
    defaults: Values = Values()  # noqa: RUF009 - frozen
    require_license: bool = False
    require_compatible: bool = False
    allow_private: bool = False
