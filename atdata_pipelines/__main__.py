"""``python -m atdata_pipelines`` is the ``atdata-pipelines`` command."""

from .cli import main

if __name__ == "__main__":
    main(prog_name="atdata-pipelines")
