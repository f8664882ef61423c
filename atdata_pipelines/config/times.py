"""When schedules begin."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import dagster as dg

_BEGIN = datetime(2024, 1, 1, tzinfo=UTC)
_SPANS = timedelta(days=2), timedelta(days=62), timedelta(days=3_000)
"""The first one with many ticks tells: an hourly schedule need not be followed through years."""
_MANY = 40


def is_cron(expression: str) -> bool:
    """Whether Dagster takes it for a schedule."""
    try:
        _ticks(expression, _SPANS[0])
    except dg.DagsterInvalidDefinitionError:
        return False
    return True


def shortest_interval(cron: str) -> timedelta:
    """The shortest time between two ticks of a schedule; a year where it has fewer than two in eight years."""
    ticks: list[datetime] = []
    for span in _SPANS:
        ticks = _ticks(cron, span)
        if len(ticks) >= _MANY:
            break
    return min((after - before for before, after in pairwise(ticks)), default=timedelta(days=365))


def _ticks(cron: str, span: timedelta) -> list[datetime]:
    form = "%Y-%m-%d %H:%M"
    windows = dg.TimeWindowPartitionsDefinition(start=_BEGIN, fmt=form, cron_schedule=cron)
    return [datetime.strptime(key, form) for key in windows.get_partition_keys(_BEGIN + span)]
