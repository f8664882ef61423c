"""What the field's own validators say of exported datasets; run by a Python that has them.

Reads a JSON object from standard input, of texts by format by name of dataset; writes what each validator found.
"""

import json
import logging
import sys


def croissant(text: str) -> dict:
    import mlcroissant

    told: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append(record.getMessage())

    keep = Keep(logging.WARNING)
    from absl import logging as absl_logging

    absl_logging.get_absl_logger().addHandler(keep)
    try:
        metadata = mlcroissant.Dataset(json.loads(text)).metadata
    finally:
        absl_logging.get_absl_logger().removeHandler(keep)
    issues = metadata.ctx.issues
    return {
        "problems": [*map(str, issues.errors), *map(str, issues.warnings), *told],
        "version": metadata.ctx.conforms_to.value,
        "files": [getattr(each, "sha256", None) for each in metadata.distribution],
        "fields": [row["fields/name"] for row in metadata.record_sets[1].data],
    }


def schema_org(text: str) -> dict:
    import extruct

    page = f'<head><script type="application/ld+json">{text.replace("<", chr(92) + "u003c")}</script></head>'
    return {"found": extruct.extract(page, syntaxes=["json-ld"])["json-ld"]}


def bibtex(text: str) -> dict:
    import bibtexparser
    from pybtex.database import parse_string

    library = bibtexparser.parse_string(text)
    (entry,) = parse_string(text, "bibtex").entries.values()
    return {
        "failed": len(library.failed_blocks),
        "entries": [sorted(each.fields_dict) for each in library.entries],
        "authors": len(entry.persons["author"]),
        "year": entry.fields.get("year"),
    }


CHECKS = {"croissant": croissant, "schema.org": schema_org, "bibtex": bibtex}

if __name__ == "__main__":
    given = json.load(sys.stdin)
    json.dump(
        {name: {kind: CHECKS[kind](texts[kind]) for kind in CHECKS} for name, texts in given.items()}, sys.stdout
    )
