"""The tree as tiles (C2SP tlog-tiles): what is stored, how it grows, and every proof read off it.

Tile (level, number) holds, one behind the other, the hashes of up to 256 complete subtrees of 256**level leaves each:
those of subtrees 256 * number, 256 * number + 1 and so on. So the tiles of level 0 hold the leaf hashes, a full tile's
root is one hash in a tile of the level above, and only the last tile of each level is ever written again, longer.

A tree of any earlier size can be read from the tiles of today, because a hash that is in a tile never changes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from services.audit.merkle.hashing import EMPTY_ROOT, HASH_BYTES, fold, node_hash, split_point

TILE_WIDTH = 256
"""Hashes in a full tile."""

_TILE_BYTES = TILE_WIDTH * HASH_BYTES
_HEIGHT = 8

ReadTile = Callable[[int, int], bytes]
"""Returns tile (level, number) as it is stored; empty where there is none."""


class TreeDamaged(Exception):
    """The stored tiles do not hold what a tree of their size must hold. Its text names the tile."""


def append(size: int, leaf_hashes: Sequence[bytes], read: ReadTile) -> dict[tuple[int, int], bytes]:
    """Returns the whole new content of every tile that changes when leaves are appended to a tree of `size` leaves.

    Raises:
        TreeDamaged: a tile that is to be continued holds more or fewer hashes than a tree of `size` leaves has there.
    """
    changed: dict[tuple[int, int], bytes] = {}
    added = b"".join(leaf_hashes)
    level, held = 0, size
    while added:
        number, filled = divmod(held, TILE_WIDTH)
        content = _exactly(level, number, filled, read) + added
        roots: list[bytes] = []
        for start in range(0, len(content), _TILE_BYTES):
            tile = content[start : start + _TILE_BYTES]
            changed[level, number] = tile
            number += 1
            if len(tile) == _TILE_BYTES:
                roots.append(fold(tile))
        added = b"".join(roots)
        level, held = level + 1, held // TILE_WIDTH
    return changed


def _exactly(level: int, number: int, filled: int, read: ReadTile) -> bytes:
    if not filled:
        return b""
    tile = read(level, number)
    if len(tile) != filled * HASH_BYTES:
        raise TreeDamaged(f"tile {number} of level {level} holds {len(tile)} bytes; it must hold {filled * HASH_BYTES}")
    return tile


def leaf(index: int, read: ReadTile) -> bytes:
    """Returns the hash of leaf `index`.

    Raises:
        TreeDamaged: the tile does not reach so far.
    """
    return _Tree(read).complete(index, 0)


def root(size: int, read: ReadTile) -> bytes:
    """Returns the root of the tree's first `size` leaves.

    Raises:
        TreeDamaged: the tiles do not reach so far.
    """
    return _Tree(read).subtree(0, size) if size else EMPTY_ROOT


def inclusion_path(index: int, size: int, read: ReadTile) -> list[bytes]:
    """Returns the proof that leaf `index` is in the tree of the first `size` leaves (RFC 9162, section 2.1.3.1).

    Raises:
        ValueError: `index` is not below `size`.
        TreeDamaged: the tiles do not reach so far.
    """
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} leaves has no leaf {index}")
    tree = _Tree(read)
    path: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + split_point(end - start)
        if index < middle:
            path.append(tree.subtree(middle, end))
            end = middle
        else:
            path.append(tree.subtree(start, middle))
            start = middle
    path.reverse()
    return path


def consistency_path(first: int, second: int, read: ReadTile) -> list[bytes]:
    """Returns the proof that the first `first` leaves begin the tree of `second` (RFC 9162, section 2.1.4.1).

    Empty when the sizes are equal or `first` is 0: there is nothing to show then.

    Raises:
        ValueError: `first` is negative or above `second`.
        TreeDamaged: the tiles do not reach so far.
    """
    if not 0 <= first <= second:
        raise ValueError(f"a tree of {first} leaves can't begin one of {second}")
    if first in (0, second):
        return []
    tree = _Tree(read)
    path: list[bytes] = []
    start, end = 0, second
    while end != first:
        middle = start + split_point(end - start)
        if first <= middle:
            path.append(tree.subtree(middle, end))
            end = middle
        else:
            path.append(tree.subtree(start, middle))
            start = middle
    # The old tree's last subtree; where that is the whole old tree, the verifier has its root already.
    if start:
        path.append(tree.subtree(start, end))
    path.reverse()
    return path


class _Tree:
    """Hashes of subtrees, each tile read once."""

    def __init__(self, read: ReadTile) -> None:
        self._read = read
        self._tiles: dict[tuple[int, int], bytes] = {}

    def subtree(self, start: int, end: int) -> bytes:
        """Returns the root over leaves start to end - 1; `start` is a multiple of the subtree's width."""
        size = end - start
        if not size & (size - 1):
            return self.complete(start, size.bit_length() - 1)
        middle = start + split_point(size)
        return node_hash(self.subtree(start, middle), self.subtree(middle, end))

    def complete(self, start: int, height: int) -> bytes:
        """Returns the root over the 2**height leaves from `start` on."""
        level, above = divmod(height, _HEIGHT)
        number, first = divmod(start >> (level * _HEIGHT), TILE_WIDTH)
        tile = self._tile(level, number)
        hashes = tile[first * HASH_BYTES : (first + (1 << above)) * HASH_BYTES]
        if len(hashes) != HASH_BYTES << above:
            raise TreeDamaged(f"tile {number} of level {level} holds {len(tile)} bytes; more are needed")
        return fold(hashes)

    def _tile(self, level: int, number: int) -> bytes:
        if (level, number) not in self._tiles:
            self._tiles[level, number] = self._read(level, number)
        return self._tiles[level, number]
