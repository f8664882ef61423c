"""Published datasets of four kinds, whose every text is hostile to some format."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from atdata_core.atmosphere import AtmosphereClient, AtmosphereIndex
from atdata_core.atmosphere.record_format.build import entry_record, label_record
from atdata_core.atmosphere.record_format.record_keys import ENTRY, LABEL, identity_tid, label_rkey
from atdata_core.protocols import ShardFacts
from atdata_core.samples.sample_types import packable
from atdata_core.state.ledger import timestamp

HOSTILE = '"a" {b} %c & <script>alert(1)</script> \\d $e$ _f_ ~g #h | `i` ---\n\n@article{x} ünï 漢字 \u202eback'
"""What means something to HTML, LaTeX, BibTeX, YAML, Markdown, or to whom reads from left to right."""


@packable
class Picture:
    """A picture with what is on it.

    Attributes:
        image: RGB, as it came from the camera:
            height, width, channel.
        label (int): What is on it.
    """

    image: NDArray[np.uint8]
    label: int


@packable
class Row:
    """A row of a table."""

    place: str
    year: int
    measured: bool
    rain: float | None


@packable
class Text:
    """A text.

    Parameters
    ----------
    text : str
        As it was printed. "Quoted" {braces} & <b>tags</b>.
    words : list of str
        One by one.
    """

    text: str
    words: list[str]


@packable
class Recording:
    """A recording."""

    sound: NDArray[np.float32]
    rate: int | None
    raw: bytes | None
    about: dict


@dataclass
class Published:
    """The account, and the at-uris of its datasets by name."""

    did: str
    handle: str
    uris: dict[str, str]


CONTENT = {
    "creators": [
        {"name": "Ada {Lovelace} & <b>Söhne</b>", "orcid": "0000-0002-1825-0097"},
        {"name": "Blaise O'Pascal, jr."},
    ],
    "doi": "10.5281/zenodo.1234567",
    "citation": HOSTILE,
    "homepage": "https://lab.example.org/?a=1&b={2}%20~x#y",
    "keywords": ["k & <i>", "50 % {x}"],
    "language": ["en", "de-CH"],
    "shardSizes": [10_240, 20_480],
    "shapes": {"image": [None, 32, 3], "sound": [None]},
}


@pytest.fixture
def publish(environ, pds, account):
    """Publish the four kinds from one account; the records state what is not looked at here."""
    client = AtmosphereClient(pds.url)
    client.login(account.handle, account.password)
    index = AtmosphereIndex(client)

    def make(names=("pictures", "rows", "texts", "recordings"), *, text=HOSTILE, content=CONTENT, **changes):
        uris = {}
        for name, kind in zip(names, (Picture, Row, Text, Recording), strict=False):
            shards = [
                ShardFacts(f"https://data.example.org/{name}/{n:06d}.tar", size, f"{n:02x}" * 32, samples=50)
                for n, size in enumerate((10_240, 20_480))
            ]
            record = entry_record(
                name=name, schema_uri=index.publish_schema(kind), shards=shards, description=text,
                tags=["a, b", "<b>", "k & <i>"], license="https://spdx.org/licenses/CC-BY-4.0",
                metadata={"any": text}, created_at=timestamp(),
            )  # fmt: skip
            record = {**record, **({"contentMetadata": content} if content else {}), **changes}
            written, _ = client.create_once(ENTRY, identity_tid(name), record)
            label = label_record(name=name, dataset_uri=written.uri, version=None, created_at=timestamp())
            client.create_once(LABEL, label_rkey(client.did, name), label)
            label = label_record(name=name, dataset_uri=written.uri, version="2.1.0", created_at=timestamp())
            client.create_once(LABEL, label_rkey(client.did, name, "2.1.0"), label)
            uris[name] = written.uri
        return Published(client.did, account.handle, uris)

    return make


@pytest.fixture
def anybody(environ):
    """A client that is not logged in."""
    return AtmosphereClient()
