"""Valid input made hostile: bytes flipped, cut, grown, and lengths that lie."""

from __future__ import annotations

from random import Random
from typing import Any

LENGTHS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1)


def hurt(data: bytes, rng: Random) -> bytes:
    """A few changes to valid bytes."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        at = rng.randrange(len(found) + 1)
        match rng.randrange(7):
            case 0 if at < len(found):
                found[at] ^= 1 << rng.randrange(8)
            case 1 if at < len(found):
                found[at] = rng.randrange(256)
            case 2:
                del found[at:]
            case 3:
                found[at : at + rng.choice((1, 4, 16, 512))] = b""
            case 4:
                found[at:at] = rng.randbytes(rng.choice((1, 4, 16, 512)))
            case 5:
                width = rng.choice((1, 2, 4, 8))
                value = rng.choice(LENGTHS) % 256**width
                found[at : at + width] = value.to_bytes(width, rng.choice(("big", "little")))
            case _:
                start = rng.randrange(len(found) + 1)
                found[at:at] = found[start : start + rng.choice((8, 64, 512))]
    return bytes(found)


def spliced(value: Any, junk: Any, rng: Random) -> Any:
    """A copy of a JSON value in which something, somewhere, is ``junk`` (or gone)."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        if rng.random() < 0.1:
            return {name: item for name, item in value.items() if name != key}
        return {name: spliced(item, junk, rng) if name == key else item for name, item in value.items()}
    if isinstance(value, list) and value and rng.random() < 0.8:
        position = rng.randrange(len(value))
        return [spliced(item, junk, rng) if at == position else item for at, item in enumerate(value)]
    return junk
