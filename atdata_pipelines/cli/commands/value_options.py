"""What a person can ask of a promotion, as options of commands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from atdata_core.promotion.options import OPTIONS, Option

Command = TypeVar("Command", bound=Callable[..., Any])


def value_options(command: Command) -> Command:
    """Gives a command these options; it takes them as ``**options``, as ``PromotionConfig`` does."""
    for option in reversed(OPTIONS.values()):
        if option.command is not None:
            command = _click(option)(command)
    return command


def _click(option: Option) -> Callable[[Command], Command]:
    flag = option.name.replace("_", "-")
    if option.type == Sequence[str] | None:
        one = f"--{flag.removesuffix('s')}"
        return click.option(one, option.name, multiple=True, callback=_given, help=option.command)
    if option.type == bool | None:
        return click.option(f"--{flag}/--no-{flag}", default=None, help=option.command)
    return click.option(f"--{flag}", is_flag=option.type is bool, help=option.command)


def _given(context: click.Context, parameter: click.Parameter, values: Sequence[str]) -> list[str] | None:
    return [each for each in values if each] if values else None


prefix_option = click.option(
    "--key-prefix", help="Of the component that is meant, such as lab/images, where a project has several."
)
