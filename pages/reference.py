"""Pages of ``docs/reference`` that are made from the code: ``python -m pages.reference`` writes them anew."""

from __future__ import annotations

import re
from pathlib import Path

import click

from atdata_core.promotion.options import OPTIONS
from atdata_pipelines.cli import main
from atdata_pipelines.cli.command import EXIT_CODES, PROGRAM, Command

REFERENCE = Path(__file__).resolve().parents[1] / "docs" / "reference"

_COMMANDS = """\
# The command line

Made from what `atdata-pipelines COMMAND --help` says. Services and account come from the environment, or from a
file `.env` in the working directory; [`.env.example`](../../.env.example) lists all variables.

| exit code | meaning |
|---|---|
{codes}

- **For programs.** Every command takes `--json`: stdout then has one JSON object a line, one for each dataset or
  check, and nothing else; what people are told goes to stderr. What is printed into a pipe or a file is never cut.
- **What takes long** is shown at a terminal after two seconds: shards and bytes, rate and time left, in all and of
  each shard under way. Elsewhere nothing is shown.
- **Ctrl-C** ends a command within a second, says what was done by then and which command goes on. Nothing is half
  published: a promotion may be ended at any point.
- **Questions.** What removes or changes something shows it and asks; `--yes` is the answer given beforehand.

Commands, options and names of datasets are completed where this line stands in `~/.bashrc`:

```sh
eval "$(_ATDATA_PIPELINES_COMPLETE=bash_source atdata-pipelines)"
```

For zsh it is `zsh_source`, in `~/.zshrc`; for fish it is `fish_source`, in
`~/.config/fish/completions/atdata-pipelines.fish`, and the line is

```fish
_ATDATA_PIPELINES_COMPLETE=fish_source atdata-pipelines | source
```"""


def commands() -> str:
    """The page of the command line."""
    codes = "\n".join(f"| {code} | {meaning} |" for code, meaning in EXIT_CODES.items())
    parts = [_COMMANDS.format(codes=codes)]
    for name, command in sorted(main.commands.items()):
        assert isinstance(command, Command)
        parts += _section(name, command)
    return "\n\n".join(parts) + "\n"


def _section(name: str, command: Command) -> list[str]:
    context = click.Context(command, info_name=f"{PROGRAM} {name}")
    options = [_option(each, context) for each in command.params if isinstance(each, click.Option)]
    return [
        f"## {name}",
        "\n\n".join(" ".join(_safe(part).split()) for part in (command.help or "").split("\n\n")),
        "```text\n" + command.get_usage(context).removeprefix("Usage: ") + "\n```",
        "| option | |\n|---|---|\n" + "\n".join(options),
        "```sh\n" + "\n".join(f"{PROGRAM} {example}" for example in command.examples) + "\n```",
    ]


def _option(option: click.Option, context: click.Context) -> str:
    record = option.get_help_record(context)
    assert record is not None, option.name
    names, text = (" ".join(part.split()).replace("|", "\\|") for part in record)
    return f"| `{names}` | {_safe(text)} |"


def _safe(text: str) -> str:
    """Help is text, not Markdown: what stands in brackets is no link."""
    return re.sub(r"([\[\]<>*])", r"\\\1", text)


_OPTIONS = """\
# Options of a promotion

Keywords of `promote_to_atmosphere` and `plan_promotion`, fields of the launch dialogs in Dagster; those of the
[command line](commands.md) are the same.

| option | default | |
|---|---|---|"""


def options() -> str:
    """The page of the options."""
    lines = [
        f"| `{each.name}` | `{each.default!r}` | {_safe(each.help.replace('Null', 'None'))} |"
        for each in OPTIONS.values()
    ]
    return "\n".join([_OPTIONS, *lines]) + "\n"


PAGES = {REFERENCE / "commands.md": commands, REFERENCE / "options.md": options}


if __name__ == "__main__":
    for page, document in PAGES.items():
        page.write_text(document())
