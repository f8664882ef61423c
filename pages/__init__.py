"""What makes the site of ``docs/``: the page of the command line, and the links of the pages to the repository."""
