"""What makes the site of ``docs/``: the pages that are made from the code, and how all are laid out."""
