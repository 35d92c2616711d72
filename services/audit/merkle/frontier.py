"""A tree that is only ever appended to and asked for its root: what a verifier needs of it, in a few hundred bytes."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

from services.audit.merkle.hashing import EMPTY_ROOT, node_hash


class Frontier:
    """The roots of the complete subtrees that a tree's leaves make up, the widest first."""

    def __init__(self) -> None:
        self.size = 0
        self._subtrees: list[bytes] = []

    def extend(self, leaf_hashes: Iterable[bytes]) -> None:
        """Appends leaves."""
        subtrees, size = self._subtrees, self.size
        for found in leaf_hashes:
            # Each one bit at the end of the size is a complete subtree as wide as the one that just came about.
            full = size
            while full & 1:
                found = sha256(b"\x01" + subtrees.pop() + found).digest()
                full >>= 1
            subtrees.append(found)
            size += 1
        self.size = size

    def copy(self) -> Frontier:
        """Returns another tree with the same leaves."""
        other = Frontier()
        other.size, other._subtrees = self.size, list(self._subtrees)
        return other

    def root(self) -> bytes:
        """Returns the root over all leaves so far."""
        if not self._subtrees:
            return EMPTY_ROOT
        *wider, found = self._subtrees
        for subtree in reversed(wider):
            found = node_hash(subtree, found)
        return found
