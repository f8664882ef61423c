"""Records of the network: built, parsed, and held to their lexicons."""

__all__ = ["build", "content_metadata", "lexicon", "parse", "record_keys", "record_metadata"]
