"""The commands of ``atdata-pipelines``, a file for each."""
