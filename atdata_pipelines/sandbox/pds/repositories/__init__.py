"""Repositories of the sandbox's PDS: records in a signed tree."""
