"""The stages of a promotion."""

CODE_VERSIONS = {"local_dataset": "1", "published_schema": "1", "copied_shards": "2", "atmosphere_record": "1"}
"""Their names, in order, and the version of the code of each: a fact of another version is found anew."""

STAGES = tuple(CODE_VERSIONS)
"""Their names, in order."""
