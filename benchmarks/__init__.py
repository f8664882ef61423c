"""How fast the paths are that users wait for, each beside a peer's, measured in the same run.

``python -m benchmarks`` runs all of it in less than ten minutes, ``--quick`` a smaller version in less than one.
``frame.py`` says what a row is and how it is measured, ``table.py`` makes ``docs/performance.md`` of
what came out; each other module holds the rows of one subject.
"""
