"""What a person does in Dagster's UI, by what stands on its buttons."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from untrusted import LOCATION

RUN = 90_000
"""Milliseconds that a run may take: it is a process of its own, which starts in ten seconds on a busy machine."""

expect.set_options(timeout=20_000)
_ENDS = re.compile("^(Success|Failure|Canceled)$")


class DagsterUi:
    """The UI in a browser.

    Args:
        page: Of the browser; paths are relative to the UI.
        pictures: The folder for what a person should look at afterwards.
    """

    def __init__(self, page: Page, pictures: Path) -> None:
        self.page = page
        self._pictures = pictures
        pictures.mkdir(parents=True, exist_ok=True)
        page.goto("/")
        expect(page.get_by_role("link", name="Runs").first).to_be_visible()
        # dagster.yaml turns off the window that asks people to join a community.
        expect(page.get_by_role("dialog")).to_have_count(0)

    def keep(self, name: str) -> None:
        """Keep a picture of the page."""
        self.page.screenshot(path=self._pictures / f"{name}.png", animations="disabled")

    def open_graph(self) -> None:
        """Open the graph of the assets of a promotion."""
        self.page.goto(f"{LOCATION}/asset-groups/promotion")
        expect(self.page.get_by_role("button", name="Materialize all")).to_be_enabled()

    def materialize(self) -> Locator:
        """Open the dialog that materialises what the page shows."""
        self.page.get_by_role("button", name="Materialize").first.click()
        return self.page.get_by_role("dialog").filter(has_text="Launch runs to materialize")

    def add_partition(self, dialog: Locator, name: str) -> None:
        """Add a partition, in the dialog that materialises."""
        dialog.get_by_role("button", name="Add a partition").click()
        asking = self.page.get_by_role("dialog").filter(has_text="Add a partition for dataset")
        asking.get_by_placeholder("name").fill(name)
        asking.get_by_role("button", name="Save").click()
        expect(asking).to_be_hidden()

    def open_job(self, name: str) -> None:
        """Open the page that launches a job."""
        self.page.goto(f"{LOCATION}/jobs/{name}/playground")

    def choose_partition(self, name: str) -> None:
        """Choose the partition of the job that is launched."""
        self.page.get_by_placeholder("Partition").click()
        self.page.get_by_role("menuitem", name=name, exact=True).click()

    def say(self, field: str, value: str) -> None:
        """Write over a ``null`` of the configuration, with YAML."""
        line = self.page.locator(".CodeMirror-line").filter(has_text=f"{field}: null")
        line.get_by_text("null", exact=True).dblclick()
        self.page.keyboard.type(value)
        # It may offer completions, which would take the next click.
        self.page.keyboard.press("Escape")
        expect(self.page.locator(".CodeMirror-line").filter(has_text=f"{field}: {value}")).to_be_visible()

    def launch(self) -> None:
        """Launch the job; its run is shown."""
        self.page.get_by_role("button", name="Launch Run").click()
        self.page.wait_for_url("**/runs/*")

    def view_launched(self) -> None:
        """Go to what the dialog has just launched."""
        # The note that says so goes away after some seconds.
        self.page.get_by_text("View", exact=True).click()
        self.page.wait_for_url("**/runs/**")

    def end_of_run(self) -> str:
        """Wait until the run that is shown ends; how."""
        state = self.page.get_by_text(_ENDS).first
        expect(state).to_be_visible(timeout=RUN)
        return state.inner_text()

    def filter_log(self, of: str) -> None:
        """Show only some events of the run: the page draws those of a long log that it is scrolled to."""
        self.page.get_by_placeholder("Filter…").fill(of)
        self.page.keyboard.press("Enter")

    def open_partition(self, asset: str, name: str) -> None:
        """Open the latest materialisation of a partition."""
        self.page.goto(f"/assets/{asset}?view=partitions&partition={name}")
        expect(self.page.get_by_text("Materialized", exact=True)).to_be_visible()

    def told(self, key: str) -> Locator:
        """What the materialisation says of something."""
        row = self.page.get_by_role("row").filter(has=self.page.get_by_role("cell", name=key, exact=True))
        return row.get_by_role("cell").nth(1)

    def events(self) -> int:
        """How many events of the partition the page tells."""
        said = self.page.get_by_role("button", name="View all historical events").inner_text()
        return int(said.removeprefix("View all historical events (").removesuffix(")"))

    def open_partitions(self, asset: str) -> None:
        """Open the list of an asset's partitions."""
        self.page.goto(f"/assets/{asset}?view=partitions")
        expect(self.page.get_by_text(re.compile(r"^\d+ Partitions Selected$"))).to_be_visible()

    def count(self, state: str) -> int:
        """How many partitions of the asset the page says are in a state."""
        said = self.page.get_by_text(re.compile(rf"^{state} \(\d+\)$")).inner_text()
        return int(said.removeprefix(f"{state} (").removesuffix(")"))

    def end_of_backfill(self, runs: int) -> None:
        """Wait until so many runs of the backfill that is shown have succeeded, and none is left."""
        self.page.get_by_role("tab", name="Runs").click()
        expect(self.page.get_by_text("Success", exact=True)).to_have_count(runs, timeout=2 * RUN)
        expect(self.page.get_by_role("link", name="View", exact=True)).to_have_count(runs)
