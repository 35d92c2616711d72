"""The hashes of the log's Merkle tree (RFC 6962, section 2.1): SHA-256 after a byte for leaf or node."""

from __future__ import annotations

from hashlib import sha256

HASH_BYTES = 32
EMPTY_ROOT = sha256(b"").digest()
"""The root of a tree without leaves."""


def leaf_hash(record: bytes) -> bytes:
    """Returns the hash of a leaf, from the record's bytes as they are stored."""
    return sha256(b"\x00" + record).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Returns the hash of a node over its two children's."""
    return sha256(b"\x01" + left + right).digest()


def fold(hashes: bytes) -> bytes:
    """Returns the root over concatenated hashes, whose number is a power of two."""
    while len(hashes) > HASH_BYTES:
        hashes = b"".join(
            [
                sha256(b"\x01" + hashes[at : at + 2 * HASH_BYTES]).digest()
                for at in range(0, len(hashes), 2 * HASH_BYTES)
            ]
        )
    return hashes


def split_point(size: int) -> int:
    """Returns where RFC 6962 divides a tree of `size` leaves, 2 or more: the largest power of two below `size`."""
    return 1 << ((size - 1).bit_length() - 1)
