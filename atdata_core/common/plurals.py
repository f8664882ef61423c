"""Numbers of things, for people: one in the singular, several in the plural."""


def number_of(count: int, noun: str) -> str:
    """``1 shard``, ``2,000 shards``, ``3 entries``."""
    return f"{count:,} {noun if count == 1 else plural(noun)}"


def plural(noun: str) -> str:
    """The plural of a noun that is formed as most are."""
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}s"
