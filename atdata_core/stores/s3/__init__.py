"""S3 and what speaks it: objects, endpoints, uploads and their proofs."""

__all__ = ["clients", "objects", "s3_errors", "upload"]
