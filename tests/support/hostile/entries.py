"""What a hostile member of a lab writes to Redis: entries, labels, schemas and keys of ours, of every kind."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import Any

import msgpack
from redis import ResponseError

from atdata_core.local.entry import StoredEntry
from hostile.mutation import hurt, spliced

Command = tuple[Any, ...]
MEGABYTES = 3 << 20


@dataclass(frozen=True)
class Honest:
    """What an honest entry of the lab says, which a hostile one takes for itself."""

    schema_ref: str
    urls: list[str]
    schema: dict[str, Any]


@dataclass(frozen=True)
class Attack:
    """One hostile thing: its kind, the key and name that an error may tell it by, and the commands that write it.

    ``forbidden`` are texts that no message and no record may hold.
    """

    kind: str
    name: bytes
    cid: bytes
    commands: tuple[Command, ...]
    forbidden: tuple[str, ...] = ()

    def told_by(self) -> tuple[str, ...]:
        """Any of these tells a person which one it is."""
        name, cid = self.name.decode(errors="replace"), self.cid.decode(errors="backslashreplace")
        beginning = "".join(character for character in name[:200] if character.isalnum())
        return (beginning[:40], cid)


NAMES: tuple[str, ...] = (
    "\x1b[2Jcleared", "\x1b]0;title\x07bell", "nul\x00nul", "del\x7f", "two\nlines", "cr\rlf\n", "line\u2028sep",
    "\u202egnp.exe", "a\u200bb", "\u2066turned\u2069", "\ufeffmark", "tag\U000e0041", "../../etc/passwd",
    "/etc/passwd", "a/../../b", "..", ".", "C:\\evil", "a...b", "x/./y", "n" * 201, "é" * 101, " ", "", "\t",
    "<img src=x onerror=alert(1)>", "![i](http://evil.example/i.png)", "[l](javascript:alert(1))", "*", "?",
    "[a-z]",
    "{a,b}", "{0..9}", "%s%n%x", "$(touch /tmp/evil)", "`id`", "; rm -rf ~", "--help", "-rf", "--restore", "|", "@",
    "a@b", "a:b", "entry:x", "current", "at://did:plc:abc/x/y", "local://x", "ключ", "名前", "e\u0301", "\u00e9",
    "\U0001f600", "a" * 200, "null", "None", "../" * 60, "a//b", "/", "\\", "'", '"', "'; DROP TABLE runs; --",
)  # fmt: skip


def _nested(depth: int, opening: bytes) -> bytes:
    return opening * depth + b"\xc0"


PACKED: tuple[bytes, ...] = (
    b"", b"\xc0", b"\xc1", b"\x2a", b"\xa3abc", b"\x93\x01\x02\x03", b"\xc3", b"\xcb\x7f\xf8\0\0\0\0\0\0",
    b"\xd7\xff" + bytes(8), b"\xd6\xff\xff\xff\xff\xff", b"\xc7\x0c\xff" + b"\xff" * 12, b"\xd4\x05x",
    b"\x81\xa1a\xd4\x05x", b"\x81\xa1t\xd6\xff\0\0\0\0", b"\x81\xa1t\xc7\x0c\xff" + b"\xff" * 12,
    b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff",
    b"\xc9\xff\xff\xff\xff\x01", b"\xdd\x00\x10\x00\x00" * 400, _nested(400, b"\x91"), _nested(510, b"\x91"),
    _nested(1023, b"\x91"), _nested(100_000, b"\x91"), _nested(300, b"\x81\xa1a"), _nested(510, b"\x81\xa1a"),
    _nested(100_000, b"\x81\xa1a"), b"\x81" + _nested(300, b"\x91"), b"\x81\xa2\xff\xfe\x01",
    b"\x81\xa1a\xa2\xff\xfe",
    b"\x81\xa1a\xa3\xed\xa0\x80", b"\x82\xa1a\x01\xa1a\x02", b"\x81\xc0\xc0", b"\x81\x01\x02", b"\x81\x91\x01\x02",
    b"\x81\x80\x02", b"\x81\xcb\x7f\xf8\0\0\0\0\0\0\x01", b"\x81\xd4\x05x\x01", b"\x80trailing", b'{"json": true}',
    b"\x81\xa1a\xc6\x00\x20\x00\x00" + bytes(1 << 21), b"\xc4\x02ab", b"\x80" * 100,
)  # fmt: skip
"""Bytes that stand where a msgpack map or list should."""


def _deep(depth: int) -> Any:
    inner: Any = None
    for _ in range(depth):
        inner = {"a": [inner]}
    return inner


METADATA: tuple[Any, ...] = (
    {"tags": "one"}, {"tags": [1, 2]}, {"tags": [b"\xff"]}, {"tags": ["t"] * 20_000}, {"tags": ["x" * 5000]},
    {"tags": {"a": "b"}}, {"tags": [None]}, {"tags": ["<script>", "\u202e", "\x1b[0m",
    "![i](http://evil.example)"]},
    {"license": 5}, {"license": "no such license"}, {"license": "x" * 100_000}, {"license": ["MIT"]},
    {"license": "MIT\x00"}, {"description": 7}, {"description": b"\xff\xfe"}, {"description": "d" * MEGABYTES},
    {"description": "\x00\x1b[2J\u202e"}, {"description": "<img src=x onerror=alert(1)>"}, {"description": ["a"]},
    {"promote": "maybe"}, {"promote": 0}, {"promote": None}, {"promote": []}, {"promote": False}, {"name": "other"},
    {"$type": "x", "$bytes": "y", "$link": "z"}, {"$bytes": "AAAA"}, {"$link": "bafk"},
    {"a": {"$link": {"$link": 1}}},
    {"__class__": "os.system"}, {"a": 2**64 - 1}, {"a": -(2**63)}, {"a": float("nan")}, {"a": float("inf")},
    {float("nan"): 1}, {0: 1, "0": 2}, {True: 1, 2.0: 2}, {None: None}, {b"\xff": b"\x00"}, {"\x00": "\x00"},
    {"k": "v" * MEGABYTES}, {f"k{number}": number for number in range(20_000)}, {"a": _deep(100)},
    {"a": _deep(240)},
    {"k" * 100_000: 1}, {"a": [[]] * 30_000}, {"version": 5}, {"version": "9" * 5000}, {"created_at": "never"},
    {"url": "file:///etc/passwd"}, {"url": "http://169.254.169.254/latest/meta-data"}, {"a" * 99_000: "b"},
    {"": ""}, {"samples": -1}, {"size": "x"}, {"schema_ref": "x"}, {"data_urls": []},
    {"content_metadata": {"a": 1}}, {"tags": _deep(240)}, {"license": _deep(240)}, {"description": _deep(240)},
    {"tags": [f"t{number}" for number in range(300_000)]}, {"created_at": "99999-01-01T00:00:00Z"},
)  # fmt: skip

SECRETS = ("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "hunter2-hunter2")


def _urls(honest: Honest, trap: str, rng: Random) -> tuple[Any, ...]:
    first = honest.urls[0]
    return (
        [], "", [""], [" "], None, 5, {}, {"a": first}, [1], [None], [[first]], [b"s3://b/k"], [first, 5], True,
        ["\x00"], ["s3://"], ["s3:///"], ["s3://b"], ["s3://b/"], [first + "\n"], [first + "\x1b[2J"],
        [" " + first],
        ["\u202e" + first], [first] * 2, [first, first.replace("s3://", "S3://")], ["file:///etc/passwd"],
        ["/etc/passwd"], ["/dev/zero"], ["file:///dev/zero"], ["file://localhost/dev/stdin"],
        ["/proc/self/environ"],
        ["../../etc/passwd"], ["~/.ssh/id_rsa"], ["pipe:cat /etc/passwd"], ["pipe:touch /tmp/evil"], ["gs://b/k"],
        ["ftp://h/f"], ["gopher://h"], ["javascript:alert(1)"], ["data:,x"], ["at://did:plc:x/y/z"], ["-"],
        ["--help"],
        [f"{trap}/a.tar"], [f"{trap}/a.tar#f"], [f"{trap}/{{0..9999}}.tar"], ["http://169.254.169.254/a.tar"],
        ["http://127.1/a.tar"], ["http://[::1]/a.tar"], ["http://0x7f000001/a.tar"], ["http://[::ffff:10.0.0.1]/a"],
        ["http://localhost:1/a.tar"], ["http://h:99999/a.tar"], ["http://h:x/a.tar"], ["http://[::/a.tar"],
        ["http://"], ["http:///x"], ["https://\u202e/x"], ["https://" + "a" * 300 + "/x"], ["http://a..b/x"],
        ["https://xn--/x"], ["http://\udcff".encode("utf-8", "replace").decode()], ["s3://B_A_D/k"],
        ["s3://b\x00/k"],
        [f"https://user:{SECRETS[2]}@h.example/a.tar"], [f"s3://{SECRETS[0]}:{SECRETS[2]}@b/a.tar"],
        [f"https://b.s3.amazonaws.com/a.tar?X-Amz-Credential={SECRETS[0]}%2F1&X-Amz-Signature={'0' * 64}"],
        ["s3://b/{0..99999999999999999999}.tar"], ["s3://b/{0..999999}.tar"], ["s3://b/" + "{a,b}" * 60],
        ["s3://b/" + "{" * 5000], ["s3://b/{a,{b,{c,"], ["s3://b/{9..0}.tar"],
        ["s3://b/{0..9}{0..9}{0..9}{0..9}{0..9}"],
        ["s3://b/" + "k" * 5000], ["s3://no-such-bucket-here/k.tar"], [first + ".gone"], ["s3://b/%00"],
        [f"s3://b/{number}.tar" for number in range(30_000)], ["x" * MEGABYTES], [first, "file:///etc/shadow"],
        [first + "?versionId=x"], [first + "#x"], [first + "::x"], [rng.choice(NAMES) for _ in range(3)],
    )  # fmt: skip


REFS: tuple[bytes, ...] = (
    b"", b" ", b"x", b"local://", b"local://schemas/", b"local://schemas/@", b"local://schemas/a.B", b"\xff\xfe",
    b"local://schemas/a.B@", b"local://schemas/a.B@x", b"local://schemas/no.Where@1.0.0", b"\xed\xa0\x80",
    b"local://schemas/" + b"a" * MEGABYTES + b"@1.0.0", b"local://schemas/a.B@" + b"9" * 5000, b"at://x/y/z",
    b"at://did:plc:aaaaaaaaaaaaaaaaaaaaaaaa/science.alt.dataset.schema/x", b"http://127.0.0.1/",
    b"file:///etc/passwd",
    b"local://schemas/*@1.0.0", b"local://schemas/a\nb.C@1.0.0", b"local://schemas/\x1b[2J.C@1.0.0",
    b"local://schemas/../../x@1.0.0", "local://schemas/\u202e.C@1.0.0".encode(), b"local://schemas/a@1.0.0@2.0.0",
)  # fmt: skip

DOCSTRINGS = (
    "<img src=x onerror=alert(1)>", "![i](http://evil.example/i.png)", "\x1b[2J\u202e\x00",
    "d" * MEGABYTES, 5, [], {},
    '"""\nimport os\nos.system("touch /tmp/evil")\n"""', "a\r\n\r\n# heading\n| a |\n|-|",
)  # fmt: skip

CLASSES = (
    "class", "__import__('os')", "A\nB", "A;B", "../A", "A" * 5000, "\u202eA", "A B", "", "A.B.C", "A@B",
    "None", "é", "A\x00",
)  # fmt: skip


def _other_fields(schema: dict[str, Any], rng: Random) -> dict[str, Any]:
    """A schema that says something else than the samples hold."""
    fields: list[dict[str, Any]] = [dict(field) for field in schema["fields"]]
    match rng.randrange(5):
        case 0:
            fields[rng.randrange(len(fields))]["name"] = "elsewhere"
        case 1:
            one, two = rng.sample(range(len(fields)), 2)
            fields[one]["fieldType"], fields[two]["fieldType"] = fields[two]["fieldType"], fields[one]["fieldType"]
        case 2:
            fields = [*fields, {**fields[0], "name": "more", "optional": False}]
        case 3:
            fields = []
        case _:
            fields = [*fields, fields[0]]
    return {**schema, "fields": fields}


_WEIGHTS = {
    "of_urls": 7,
    "of_metadata": 5,
    "of_names": 5,
    "of_packed_metadata": 3,
    "of_schemas": 3,
    "of_packed_urls": 2,
    "of_numbers": 2,
    "of_types": 4,
}
"""How often a kind comes that has many values."""


class Member:
    """Writes attacks, each under a name and a CID of its own."""

    def __init__(self, honest: Honest, trap: str, seed: int) -> None:
        self.honest, self.trap, self.rng = honest, trap, Random(seed)
        self._numbers = count()
        self._turns: dict[str, Iterator[int]] = {}

    def attacks(self, amount: int) -> list[Attack]:
        """So many, of each kind in turn."""
        kinds = [value for name, value in sorted(type(self).__dict__.items()) if name.startswith("of_")]
        rounds = [kind for kind in kinds for _ in range(_WEIGHTS.get(kind.__name__, 1))]
        return [rounds[at % len(rounds)](self) for at in range(amount)]

    # -- what stands in an entry ------------------------------------------------------------------

    def of_names(self) -> Attack:
        """Names that are no names, beside those that only look so."""
        name = self._next("names", NAMES)
        return self._entry("names", name=name.encode("utf-8", "surrogatepass"))

    def of_names_in_bytes(self) -> Attack:
        """Names that are no UTF-8, megabytes of them, and none."""
        name = self._next("bytes", (b"\xff\xfe", b"\xed\xa0\x80", b"ok\xc3", None, b"m" * MEGABYTES, b"\x80" * 300))
        return self._entry("names in bytes", name=name)

    def of_packed_metadata(self) -> Attack:
        """Metadata that are no map, bombs, and types of msgpack that nothing else knows."""
        packed = self._next("packed", PACKED)
        packed = packed if self.rng.random() < 0.7 else hurt(packed or b"\x80", self.rng)
        return self._entry("packed metadata", metadata=packed)

    def of_metadata(self) -> Attack:
        """Maps with the wrong things in them."""
        return self._entry("metadata", metadata=msgpack.packb(self._next("metadata", METADATA)))

    def of_more_metadata(self) -> Attack:
        """Metadata with secrets, and valid ones that were damaged."""
        secret = self._next("secrets", (SECRETS, [{"deep": {"password": SECRETS[2]}}], None, {"token": SECRETS[1]}))
        if secret is None:
            packed = msgpack.packb({"tags": ["a"], "license": "MIT", "description": "d", "n": [1, {"a": b"x"}]})
            return self._entry("damaged metadata", metadata=hurt(packed, self.rng))
        url = f"https://user:{SECRETS[2]}@h.example/"
        return self._entry("secrets", metadata=msgpack.packb({"a": secret, "u": url}), forbidden=SECRETS[2:])

    def of_urls(self) -> Attack:
        """Addresses that are none, that nobody may reach, or that stand for very many."""
        urls = self._next("urls", _urls(self.honest, self.trap, Random(0)))
        return self._entry("urls", data_urls=msgpack.packb(urls), forbidden=SECRETS[2:])

    def of_packed_urls(self) -> Attack:
        """Addresses that are no msgpack."""
        return self._entry("packed urls", data_urls=self._next("packed urls", PACKED))

    def of_refs(self) -> Attack:
        """Schemas that are nowhere."""
        return self._entry("refs", schema_ref=self._next("refs", REFS))

    def of_fields(self) -> Attack:
        """Entries without one of their fields, with all of another type, or with more."""
        number = self._next("fields", tuple(range(8)))
        attack = self._entry("fields")
        key = attack.commands[0][1]
        if number < 5:
            field = ("name", "schema_ref", "data_urls", "cid", "metadata")[number]
            return self._with(attack, ("hdel", key, field))
        if number == 5:
            return self._with(
                attack, ("hset", key, None, None, dict.fromkeys(("name", "schema_ref", "data_urls"), b"\xff"))
            )
        if number == 6:
            return self._with(attack, ("hset", key, b"\xff\xfe", b"x"))
        return self._with(attack, ("delete", key), ("set", key, b"no hash"))

    def of_cids(self) -> Attack:
        """CIDs that are none."""
        cids = (
            b"", b"\xff\xfe", b"x" * 100_000, b"a:b", b"..", b"\x1b[2J", b"a b", b"*", "\u202e".encode(),
            b"\n", b"bafy",
        )  # fmt: skip
        return self._entry("cids", cid=self._next("cids", cids))

    def of_shared_data(self) -> Attack:
        """Entries that give themselves the CID of another one, or say another one than their key."""
        attack = self._entry("shared data")
        said = self._next("shared", (b"another", b"\xff", b"", b"x" * MEGABYTES))
        return self._with(attack, ("hset", attack.commands[0][1], "cid", said))

    # -- what stands beside it --------------------------------------------------------------------

    def of_schemas(self) -> Attack:
        """Records of schemas that lie, or are damaged."""
        kind = self._next("schemas", ("lies", "docstring", "class", "damaged", "json", "type", "ref"))
        name, cid = self._new()
        schema = {**self.honest.schema, "module": f"evil.m{cid.decode()[-12:]}"}
        if kind == "lies":
            schema = _other_fields(schema, self.rng)
        elif kind == "docstring":
            schema["description"] = self._next("docstrings", DOCSTRINGS)
        elif kind == "class":
            schema["name"] = self._next("classes", CLASSES)
        elif kind == "damaged":
            schema = spliced(schema, self.rng.choice((None, 5, [], {}, "x" * 3000, [[[]]], {"a": 1}, -1)), self.rng)
        named = f"evil.m{cid.decode()[-12:]}.{schema.get('name') if isinstance(schema, dict) else 'S'}@1.0.0"
        text = json.dumps(schema).encode()
        if kind == "json":
            text = self.rng.choice(
                (b"[" * 50_000, b"\xff", b"", b"null", b"5", b"{}", hurt(text, self.rng), b'{"a":' * 5000)
            )
        written: Command = ("set", f"LocalSchema:{named}", text)
        if kind == "type":
            written = ("rpush", f"LocalSchema:{named}", b"x")
        ref = f"local://schemas/{named}".encode("utf-8", "surrogatepass")
        attack = self._entry("schemas", name=name, cid=cid, schema_ref=ref)
        return Attack(f"schemas: {kind}", name, cid, (written, *attack.commands))

    def of_labels(self) -> Attack:
        """Labels that point nowhere, at others, or are none."""
        number = self._next("labels", tuple(range(8)))
        name, cid = self._new()
        label = b"Label:" + name + b"@"
        commands: list[Command] = [
            ("hset", label, "cid", b"nowhere"),
            ("hset", label, "cid", b"\xff\xfe"),
            ("set", label, b"x"),
            ("hset", label, "name", b"no cid"),
            ("hset", label + b"1.0.0", None, None, {"cid": b"\xff", "name": name}),
            ("hset", label + b"9" * 5000, None, None, {"cid": b"nowhere", "name": name}),
            ("hset", label + b"\xff", None, None, {"cid": cid, "name": name}),
            ("hset", label, "cid", b"x" * MEGABYTES),
        ]
        attack = self._entry("labels", name=name, cid=cid)
        # Every other one is a label without any entry of its name.
        of_entry = attack.commands if self._next("labelled", (True, False)) else ()
        return Attack(f"labels: {number}", name, cid, (commands[number], *of_entry))

    def of_our_entries(self) -> Attack:
        """What this library keeps of an entry, written by somebody else."""
        number = self._next("ours", tuple(range(13)))
        name, cid = self._new()
        key, field = b"atdata:dataset:" + name, b"entry:" + cid
        record = StoredEntry(self.honest.schema_ref, self.honest.urls, None).to_record(registered_at=1)
        values: dict[str, Any] = msgpack.unpackb(record)
        wrong = self.rng.choice((None, 5, -1, [], {}, "x", [1], 2**63, b"\xff", msgpack.Timestamp(1)))
        commands: list[tuple[Command, ...]] = [
            (("set", key, b"x"),),
            (("rpush", key, b"x"),),
            (("hset", key, field, b"\xc1"),),
            (("hset", key, field, b""),),
            (("hset", key, field, msgpack.packb(5)),),
            (("hset", key, field, msgpack.packb({})),),
            (("hset", key, field, msgpack.packb({**values, "registered_at": wrong})),),
            (("hset", key, field, msgpack.packb({**values, "data_urls": wrong})),),
            (("hset", key, field, msgpack.packb({**values, "metadata": wrong})),),
            (("hset", key, field, msgpack.packb({**values, "schema_ref": wrong})),),
            (("hset", key, field, hurt(record, self.rng)),),
            (("hset", key, field, record), ("hset", key, "current", b"\xff\xfe")),
            (("hset", key, b"entry:\xff\xfe", record), ("hset", key, b"\xff", b"x")),
        ]
        attack = self._entry("our entries", name=name, cid=cid)
        listed = ("zadd", "atdata:datasets", {name: 0})
        current = ("hset", key, "current", cid) if 2 <= number < 11 else ("exists", key)
        return Attack(f"our entries: {number}", name, cid, (*attack.commands, *commands[number], current, listed))

    def of_our_facts(self) -> Attack:
        """What this library knows of a dataset and its shards, written by somebody else."""
        number = self._next("facts", tuple(range(9)))
        name, cid = self._new()
        ledger, claims = b"atdata:ledger:dataset:" + name, b"atdata:shards:" + cid
        url = self.honest.urls[0].encode()
        commands: list[Command] = [
            ("set", claims, b"x"),
            ("hset", claims, b"\xff\xfe", b"{}"),
            (
                "hset",
                claims,
                url,
                self.rng.choice((b"", b"{}", b"[]", b"\xff", b"[" * 50_000, b"null", b'{"url": 5}')),
            ),
            ("set", ledger, b"x"),
            ("hset", ledger, b"\xff\xfe", b"{}"),
            (
                "hset",
                ledger,
                "record",
                self.rng.choice((b"\xff", b"{}", b"[" * 50_000, b'{"uri": 5, "publication": {}}')),
            ),
            ("hset", ledger, "failure", self.rng.choice((b"{}", b'{"stage": 5, "reason": [], "attempts": "x"}'))),
            ("hset", ledger, "inventory", self.rng.choice((b"{}", b'{"shards": [{}]}', b'{"shards": 5}'))),
            ("hset", ledger, "hold", self.rng.choice((b"{}", b'{"did": 5, "reason": null, "name": {}}'))),
        ]
        attack = self._entry("our facts", name=name, cid=cid)
        return Attack(f"our facts: {number}", name, cid, (commands[number], *attack.commands))

    def of_keys(self) -> Attack:
        """Keys that look like those of an index and are none."""
        name, cid = self._new()
        junk = self.rng.randbytes(8) + b"\xff"
        commands: list[Command] = [
            ("set", b"LocalDatasetEntry:" + junk, b"x"),
            ("hset", b"LocalSchema:" + junk + b"@1.0.0", "a", "b"),
            ("set", b"LocalSchema:" + junk + b"@\xfe", b"{}"),
            ("set", b"LocalSchema:no version " + cid, b"{}"),
            ("zadd", "atdata:datasets", {junk: 0}),
            ("zadd", "atdata:datasets", {b"": 0, name: 0}),
            ("xadd", "atdata:events", {"name": junk, "cid": cid}),
            ("xadd", "atdata:events", {"nothing": "here"}),
            ("hset", b"atdata:ledger:dataset:" + junk, "record", b"{}"),
            ("set", b"atdata:ledger:dataset:" + cid, b"x"),
            ("set", b"atdata:schemas:" + cid, b"\xff\n1.0.0\n\n../..\n"),
            ("sadd", "atdata:removed", junk, cid + b":" + name),
            ("hset", b"LocalDatasetEntry:" + junk, None, None, {"name": name, "cid": junk}),
            ("hset", b"LocalDatasetEntry:", None, None, {"name": name}),
        ]
        return Attack("keys", name, cid, (self._next("keys", tuple(commands)),))

    # -- what an enemy would think of -------------------------------------------------------------

    def of_circles(self) -> Attack:
        """Labels, entries and schemas that lead back to where one came from."""
        number = self._next("circles", tuple(range(4)))
        name, cid = self._new()
        other, other_cid = self._new()
        one, two = self._entry("circles", name=name, cid=cid), self._entry("circles", name=other, cid=other_cid)
        labels: tuple[Command, ...] = (
            ("hset", b"Label:" + name + b"@", None, None, {"cid": other_cid, "name": other}),
            ("hset", b"Label:" + other + b"@", None, None, {"cid": cid, "name": name}),
        )
        keys: tuple[Command, ...] = (
            ("hset", b"atdata:dataset:" + name, "current", other_cid),
            ("hset", b"atdata:dataset:" + other, "current", cid),
        )
        named = f"evil.Loop{number}{cid.decode()[-8:]}@1.0.0"
        itself = {
            "name": "f",
            "fieldType": {"$type": "local#ref", "kind": "ref", "ref": f"local://schemas/{named}"},
        }
        schema = {**self.honest.schema, "module": "evil", "fields": [itself], "$ref": "#"}
        own: tuple[Command, ...] = (
            ("set", f"LocalSchema:{named}", json.dumps(schema)),
            ("hset", b"LocalDatasetEntry:" + cid, "schema_ref", f"local://schemas/{named}"),
        )
        address = f"atdata://{name.decode()}"
        urls: tuple[Command, ...] = (
            ("hset", b"LocalDatasetEntry:" + cid, "data_urls", msgpack.packb([address, address])),
        )
        return Attack("circles", name, cid, (*one.commands, *two.commands, *(labels, keys, own, urls)[number]))

    def of_passing(self) -> Attack:
        """Keys that expire while they are read."""
        attack = self._entry("passing")
        key = self._next(
            "passing", (attack.commands[0][1], b"atdata:dataset:" + attack.name, b"atdata:shards:" + attack.cid)
        )
        fields = [] if key == attack.commands[0][1] else [("hset", key, b"entry:" + attack.cid, b"\x80")]
        return self._with(attack, *fields, ("pexpire", key, self.rng.choice((1, 30, 2_000, 20_000))))

    def of_types(self) -> Attack:
        """Keys of every use, of every type of Redis."""
        name, cid = self._new()
        key = self._next(
            "types",
            (
                b"LocalDatasetEntry:" + cid, b"Label:" + name + b"@", b"Label:" + name + b"@1.0.0",
                b"atdata:dataset:" + name, b"atdata:shards:" + cid, b"atdata:ledger:dataset:" + name,
                b"atdata:ledger:entry:" + cid, b"atdata:lease:" + name, b"atdata:schemas:" + name,
                b"LocalSchema:evil." + name + b"@1.0.0",
            ),
        )  # fmt: skip
        command: Command = self._next(
            "of types",
            (
                ("set", key, b"\xff"), ("rpush", key, b"x"), ("sadd", key, b"x"), ("zadd", key, {b"x": 1}),
                ("xadd", key, {"a": b"x"}), ("pfadd", key, b"x"), ("setbit", key, 1 << 22, 1),
            ),
        )  # fmt: skip
        entry = () if key.startswith(b"LocalDatasetEntry") else self._entry("types", name=name, cid=cid).commands
        return Attack("types", name, cid, (*entry, command))

    def of_numbers(self) -> Attack:
        """JSON with numbers that are none, fields twice, depth without end, and times that nobody lives to see."""
        name, cid = self._new()
        url, digest, nines = json.dumps(self.honest.urls[0]), '"sha256": "' + "0" * 64 + '"', "9" * 5000
        named = f"evil.N{cid.decode()[-12:]}@1.0.0"
        schema = json.dumps({**self.honest.schema, "module": "evil", "name": named[5:-6]})
        far = '"at": "99999-12-31T23:59:60Z"'
        claims = (
            f'{{"url": {url}, "size": NaN, {digest}}}',
            f'{{"url": {url}, "size": 1e999, {digest}}}',
            f'{{"url": {url}, "size": -1, "sha256": "", "samples": -Infinity}}',
            f'{{"url": {url}, "url": "file:///etc/passwd", "size": 1, "size": 2}}',
            f'{{"url": {url}, "size": {nines}, {digest}}}',
        )
        facts = (
            ("failure", f'{{"stage": "publish", "reason": "x", "attempts": 1e999, {far}}}'),
            ("failure", f'{{"stage": "publish", "reason": "x", "attempts": {nines}, "at": "x"}}'),
            ("failure", '{"reason": "a", "reason": "b", "attempts": NaN}'),
            ("hold", f'{{"did": "x", "reason": "r", {far}}}'),
            ("record", '{"a":' * 100_000),
        )
        schemas = (
            schema.replace("{", '{"createdAt": "+99999-01-01T00:00:00Z", ', 1),
            schema[:-1] + ', "fields": [NaN, Infinity, -Infinity]}',
            schema[:-1] + ', "description": "\\ud800\\u0000"}',
            schema[:-1] + ', "createdAt": "99999-99-99T99:99:99Z"}',
        )
        commands: list[Command] = [
            *(("hset", b"atdata:shards:" + cid, self.honest.urls[0], text) for text in claims),
            *(("hset", b"atdata:ledger:dataset:" + name, fact, text) for fact, text in facts),
            *(("set", f"LocalSchema:{named}", text) for text in schemas),
        ]
        at = self._next("numbers", tuple(range(len(commands))))
        ref = f"local://schemas/{named}".encode() if commands[at][0] == "set" else self.honest.schema_ref.encode()
        entry = self._entry("numbers", name=name, cid=cid, schema_ref=ref)
        return Attack(f"numbers: {at}", name, cid, (commands[at], *entry.commands))

    def of_ends(self) -> Attack:
        """A lease that nobody ever gives back, and a last event after which there is none."""
        attack = self._entry("ends")
        last = f"{2**64 - 1}-{2**64 - 1}"
        command: Command = self._next(
            "ends",
            (
                ("set", f"atdata:lease:removal of {attack.cid.decode()}", b"\xff"),
                ("xadd", "atdata:events", {"name": attack.name, "cid": attack.cid}, last),
                ("set", "atdata:scan", b"9" * 5000),
            ),
        )
        if command[0] == "xadd" and next(self._turns.setdefault("last", count())):
            command = ("exists", attack.name)
        return self._with(attack, command)

    # -- how ------------------------------------------------------------------------------------------

    def _next(self, turn: str, values: tuple[Any, ...]) -> Any:
        return values[next(self._turns.setdefault(turn, count())) % len(values)]

    def _new(self) -> tuple[bytes, bytes]:
        number = next(self._numbers)
        return b"evil%04d" % number, b"bafyreievil" + hashlib.sha1(b"%d" % number).hexdigest()[:30].encode()

    def _entry(self, kind: str, *, forbidden: tuple[str, ...] = (), **fields: bytes | None) -> Attack:
        """An entry as upstream's program writes it, with some fields that are other than they should be."""
        name, cid = self._new()
        cid = fields.get("cid", cid) or b""
        key = b"LocalDatasetEntry:" + cid
        values: dict[str, bytes | None] = {
            "name": name,
            "schema_ref": self.honest.schema_ref.encode(),
            "data_urls": msgpack.packb(self.honest.urls),
            "cid": cid,
            **fields,
        }
        written = {field: value for field, value in values.items() if value is not None}
        return Attack(kind, values["name"] or b"", cid, (("hset", key, None, None, written),), forbidden)

    def _with(self, attack: Attack, *commands: Command) -> Attack:
        return Attack(attack.kind, attack.name, attack.cid, (*attack.commands, *commands), attack.forbidden)


def write(redis: Any, attacks: list[Attack]) -> None:
    """Write attacks to a Redis, as far as it takes them beside each other."""
    for attack in attacks:
        for command, *arguments in attack.commands:
            with suppress(ResponseError):
                getattr(redis, command)(*arguments)
