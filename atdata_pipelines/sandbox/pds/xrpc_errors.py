"""The error that an XRPC route answers with."""

from __future__ import annotations


class XrpcError(Exception):
    """An error reply: HTTP status, error name, message (https://atproto.com/specs/xrpc)."""

    def __init__(self, error: str, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.error = error
        self.message = message
        self.status = status


def invalid(message: str) -> XrpcError:
    """The everyday refusal: 400 ``InvalidRequest``."""
    return XrpcError("InvalidRequest", message)


def internal() -> XrpcError:
    """What the reference PDS says where it did not expect the input: 500 ``InternalServerError``."""
    return XrpcError("InternalServerError", "Internal Server Error", status=500)
