"""The XRPC routes of the sandbox's PDS."""
