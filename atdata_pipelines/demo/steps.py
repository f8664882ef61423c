"""Steps as a person follows them: numbered, each with what it found and how long it took."""

import time

import click


class Steps:
    """Numbers the steps and tells how long each took."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._number = 0
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the step began."""
        return time.monotonic() - self._began

    def begin(self, what: str) -> None:
        """Announce a step."""
        self._number += 1
        click.secho(f"[{self._number}/{self._total}] {what}", bold=True)
        self._began = time.monotonic()

    def say(self, fact: str) -> None:
        """Something about the step that goes on."""
        click.echo(f"      {fact}")

    def end(self, *facts: str) -> None:
        """What the step found."""
        for fact in facts:
            self.say(fact)
        click.echo(f"      {self.seconds:.1f} s\n")
