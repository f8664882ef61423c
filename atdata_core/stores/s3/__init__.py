"""S3 and what speaks it: objects, endpoints, uploads and their proofs."""

from ...common.lazy_names import lazy_names

__all__ = ["clients", "objects", "s3_errors", "upload"]

__getattr__, __dir__ = lazy_names(__name__, __all__, {})
