"""Checks proofs (RFC 9162, sections 2.1.3.2 and 2.1.4.2). Needs nothing of the log but what it is given."""

from __future__ import annotations

from collections.abc import Sequence

from services.audit.merkle.hashing import EMPTY_ROOT, HASH_BYTES, node_hash


def verify_inclusion(leaf_hash: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Returns whether `path` proves that the tree of `size` leaves under `root` has `leaf_hash` at `index`."""
    return root_from_inclusion(leaf_hash, index, size, path) == root


def root_from_inclusion(leaf_hash: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """Returns the root that a proof leads to; None when a proof for this place can't look like this."""
    if not 0 <= index < size or not _hashes(leaf_hash, *path):
        return None
    node, last = index, size - 1
    found = leaf_hash
    for other in path:
        if not last:
            return None
        if node & 1 or node == last:
            found = node_hash(other, found)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            found = node_hash(found, other)
        node, last = node >> 1, last >> 1
    return None if last else found


def verify_consistency(first: int, second: int, path: Sequence[bytes], first_root: bytes, second_root: bytes) -> bool:
    """Returns whether `path` proves that the tree of `first` leaves is the beginning of the tree of `second`.

    The empty tree begins every tree; its root is checked all the same.
    """
    if not 0 <= first <= second or not _hashes(first_root, second_root, *path):
        return False
    if first == second:
        return not path and first_root == second_root and (first > 0 or first_root == EMPTY_ROOT)
    if not first:
        return not path and first_root == EMPTY_ROOT
    hashes = list(path)
    if not first & (first - 1):
        hashes.insert(0, first_root)
    if not hashes:
        return False
    node, last = first - 1, second - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    old = new = hashes[0]
    for other in hashes[1:]:
        if not last:
            return False
        if node & 1 or node == last:
            old, new = node_hash(other, old), node_hash(other, new)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            new = node_hash(new, other)
        node, last = node >> 1, last >> 1
    return not last and old == first_root and new == second_root


def _hashes(*values: bytes) -> bool:
    return all(len(value) == HASH_BYTES for value in values)
