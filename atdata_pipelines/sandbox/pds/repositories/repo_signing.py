"""The keys that sign repositories: P-256, one of each account. https://atproto.com/specs/cryptography"""

from __future__ import annotations

import libipld
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from atdata_pipelines.sandbox.pds.database import Database

_ORDER = 0xFFFFFFFF_00000000_FFFFFFFF_FFFFFFFF_BCE6FAAD_A7179E84_F3B9CAC2_FC632551
_P256_PUBLIC = b"\x80\x24"
_ECDSA = ec.ECDSA(SHA256())


class Keys:
    """The keys in the database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._loaded: dict[str, ec.EllipticCurvePrivateKey] = {}

    def make(self, did: str) -> None:
        """A key for an account that has none; to be called in a transaction."""
        secret = ec.generate_private_key(ec.SECP256R1()).private_numbers().private_value
        self._database.run("insert into signing_key values (?, ?)", did, f"{secret:064x}")

    def multikey(self, did: str) -> str:
        """The public key of an account, as a DID document has it."""
        point = self._of(did).public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
        return libipld.encode_multibase("z", _P256_PUBLIC + point)

    def sign(self, did: str, data: bytes) -> bytes:
        """The signature of an account, 64 bytes."""
        r, s = decode_dss_signature(self._of(did).sign(data, _ECDSA))
        # Of the two signatures that would do, the network takes the one with the smaller number.
        return r.to_bytes(32, "big") + min(s, _ORDER - s).to_bytes(32, "big")

    def _of(self, did: str) -> ec.EllipticCurvePrivateKey:
        if did not in self._loaded:
            row = self._database.one("select secret from signing_key where did = ?", did)
            assert row is not None
            self._loaded[did] = ec.derive_private_key(int(row["secret"], 16), ec.SECP256R1())
        return self._loaded[did]
