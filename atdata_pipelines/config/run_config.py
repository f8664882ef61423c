"""What a person can ask of the promotion of one dataset, as the configuration of a run."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import dagster as dg
from pydantic import BaseModel, Field, create_model

from atdata_core.promotion.options import OPTIONS, PromotionOptions

from .settings import RECORD, Settings, Tag

Model = TypeVar("Model", bound=type[BaseModel])

_TYPES: dict[Any, Any] = {Sequence[str] | None: list[str] | None}
"""Types that Dagster's configuration has others for."""


def with_options(names: Iterable[str], text: str = "help") -> Callable[[Model], Model]:
    """Gives a model a field for each of these options; ``text`` tells which of the help texts describes it."""
    added: dict[str, Any] = {
        each.name: (_TYPES.get(each.type, each.type), Field(each.default, description=getattr(each, text)))
        for each in map(OPTIONS.__getitem__, names)
    }

    def extended(model: Model) -> Model:
        return create_model(
            model.__name__, __base__=model, __module__=model.__module__, __doc__=model.__doc__, **added
        )

    return extended


@with_options(OPTIONS)
class PromotionConfig(dg.Config):
    """What a person can say about a dataset when it is published."""


def options_of(run: dg.DagsterRun, settings: Settings) -> PromotionOptions:
    """What a run asks of its last stage, with what the pipeline is configured with.

    So an early stage can refuse it before anything is written.
    """
    ops: Any = run.run_config.get("ops", {})
    given = ops.get(settings.node(RECORD), {}).get("config", {})
    options = PromotionOptions.of(run=run.run_id, **settings.keywords(PromotionConfig(**given).model_dump()))
    return replace(options, restore=options.restore and Tag.AUTOMATION_CONDITION not in run.tags)
