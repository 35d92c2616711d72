"""Hashes, tiles and proofs, against the published vectors of RFC 6962 and a tree written the way the RFC defines it."""

import random
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.audit.merkle import tiles
from services.audit.merkle.frontier import Frontier
from services.audit.merkle.hashing import EMPTY_ROOT, HASH_BYTES, leaf_hash, node_hash
from services.audit.merkle.proofs import root_from_inclusion, verify_consistency, verify_inclusion

# The test tree of Certificate Transparency, which every implementation of RFC 6962 is held against.
INPUTS = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
A = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"
B = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e"
C = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"
D = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"
E = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0"
F = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a"
INCLUSION = [(0, 8, [A, B, C]), (5, 8, [D, E, ROOTS[4]]), (2, 3, [ROOTS[2]]), (1, 5, [ROOTS[1], B, D])]
CONSISTENCY = [(1, 8, [A, B, C]), (6, 8, [F, E, ROOTS[4]]), (2, 5, [B, D])]

# Entry 848049 of a real log of 3,630,887 certificates, from the same test suite.
REAL_INDEX, REAL_SIZE = 848_049, 3_630_887
REAL_LEAF = "7a395c866d5ecdb0cccb623e011dbc392cd348d1d1d72776174e127a24b09c78"
REAL_ROOT = "78316a05c9bcf14a3a4548f5b854a9adfcd46a4c034401b3ce7eb7ac2f1d0ecb"
REAL_PATH = [
    "1a208aeebcd1b39fe2de247ee8db9454e1e93a312d206b87f6ca9cc6ec6f1ddd",
    "0a1b78b383f580856f433c01a5741e160d451c185910027f6cc9f828687a40c4",
    "3d1745789bc63f2da15850de1c12a5bf46ed81e1cc90f086148b1662e79aab3d",
    "9095b61e14d8990acf390905621e62b1714fb8e399fbb71de5510e0aef45affe",
    "0a332b91b8fab564e6afd1dd452449e04619b18accc0ff9aa8393cd4928451f2",
    "2336f0181d264aed6d8f3a6507ca14a8d3b3c3a23791ac263e845d208c1ee330",
    "b4ce56e300590500360c146c6452edbede25d4ed83919278749ee5dbe178e048",
    "933f6ddc848ea562e4f9c5cfb5f176941301dad0c6fdb9d1fbbe34fac1be6966",
    "b95a6222958a86f74c030be27c44f57dbe313e5e7c7f4ffb98bcbd3a03bb52f2",
    "daeeb3ce5923defd0faeb8e0c210b753b85b809445d7d3d3cd537a9aabaa9c45",
    "7fadd0a13e9138a2aa6c3fdec4e2275af233b94812784f66bcca9aa8e989f2bc",
    "1864e6ba3e32878610546539734fb5eeae2529991f130c575c73a7e25a2a7c56",
    "12842d1202b1dc6828a17ab253c02e7ce9409b5192430feba44189f39cc02d66",
    "29af64b16fa3053c13d02ac63aa75b23aa468506e44c3a2315edc85d2dc22b11",
    "b527b99934a0bd9edd154e449b0502e2c499bba783f3bc3dfe23364b6b532009",
    "4584db8ae8e351ace08e01f306378a92bfd43611714814f3d834a2842d69faa8",
    "86a9a41573b0d6e4292f01e93243d6cc65b30f06606fc6fa57390e7e90ed580f",
    "a88b98fbe84d4c6aae8db9d1605dfac059d9f03fe0fcb0d5dff1295dacba09e6",
    "06326dc617a6d1f7021dc536026dbfd5fffc6f7c5531d48ef6ccd1ed1569f2a1",
    "f41fe8fdc3a2e4e8345e30216e7ebecffee26ff266eeced208a6c2a3cf08f960",
    "40cf5bde8abb76983f3e98ba97aa36240402975674e120f234b3448911090f8d",
    "b3222dc8658538079883d980d7fdc2bef9285344ea34338968f736b04aeb387a",
]

MOST = 70


class StoredTree:
    """Tiles in a dictionary, grown by append() alone."""

    def __init__(self) -> None:
        self.size = 0
        self.tiles: dict[tuple[int, int], bytes] = {}

    def read(self, level: int, number: int) -> bytes:
        return self.tiles.get((level, number), b"")

    def extend(self, leaves: list[bytes]) -> None:
        self.tiles.update(tiles.append(self.size, leaves, self.read))
        self.size += len(leaves)


def grown(leaves: list[bytes], steps: list[int]) -> StoredTree:
    tree = StoredTree()
    for step in steps:
        tree.extend(leaves[tree.size : tree.size + step])
    tree.extend(leaves[tree.size :])
    return tree


def some_leaves(count: int) -> list[bytes]:
    return [leaf_hash(f"record {number}".encode()) for number in range(count)]


# The definitions of RFC 6962, section 2.1, word by word, for comparison.


def half(count: int) -> int:
    power = 1
    while power * 2 < count:
        power *= 2
    return power


def naive_root(leaves: list[bytes]) -> bytes:
    if not leaves:
        return sha256().digest()
    if len(leaves) == 1:
        return leaves[0]
    k = half(len(leaves))
    return sha256(b"\x01" + naive_root(leaves[:k]) + naive_root(leaves[k:])).digest()


def naive_path(index: int, leaves: list[bytes]) -> list[bytes]:
    if len(leaves) == 1:
        return []
    k = half(len(leaves))
    if index < k:
        return [*naive_path(index, leaves[:k]), naive_root(leaves[k:])]
    return [*naive_path(index - k, leaves[k:]), naive_root(leaves[:k])]


def naive_consistency(first: int, leaves: list[bytes], whole: bool = True) -> list[bytes]:
    if first == len(leaves):
        return [] if whole else [naive_root(leaves)]
    k = half(len(leaves))
    if first <= k:
        return [*naive_consistency(first, leaves[:k], whole), naive_root(leaves[k:])]
    return [*naive_consistency(first - k, leaves[k:], False), naive_root(leaves[:k])]


def test_published_hashes_of_a_leaf_and_a_node() -> None:
    leaf = leaf_hash(bytes.fromhex("101112131415161718191a1b1c1d1e1f"))
    assert leaf.hex() == "3bfb960453ebaebf33727da7a1f4db38acc051d381b6da20d6d4e88f0eabfd7a"
    node = node_hash(bytes(range(32)), bytes(range(32, 64)))
    assert node.hex() == "1a378704c17da31e2d05b6d121c2bb2c7d76f6ee6fa8f983e596c2d034963c57"


@pytest.mark.parametrize("size", range(9))
def test_published_roots(size: int) -> None:
    leaves = [leaf_hash(bytes.fromhex(given)) for given in INPUTS]
    assert naive_root(leaves[:size]).hex() == ROOTS[size]
    assert tiles.root(size, grown(leaves, [1, 2]).read).hex() == ROOTS[size]
    frontier = Frontier()
    frontier.extend(leaves[:size])
    assert (frontier.size, frontier.root().hex()) == (size, ROOTS[size])


def test_published_root_of_nothing() -> None:
    assert EMPTY_ROOT.hex() == ROOTS[0]


@pytest.mark.parametrize(("index", "size", "path"), INCLUSION)
def test_published_inclusion_proofs(index: int, size: int, path: list[str]) -> None:
    leaves = [leaf_hash(bytes.fromhex(given)) for given in INPUTS]
    made = tiles.inclusion_path(index, size, grown(leaves, []).read)
    assert [one.hex() for one in made] == path
    assert verify_inclusion(leaves[index], index, size, made, bytes.fromhex(ROOTS[size]))


@pytest.mark.parametrize(("first", "second", "path"), CONSISTENCY)
def test_published_consistency_proofs(first: int, second: int, path: list[str]) -> None:
    leaves = [leaf_hash(bytes.fromhex(given)) for given in INPUTS]
    made = tiles.consistency_path(first, second, grown(leaves, []).read)
    assert [one.hex() for one in made] == path
    assert verify_consistency(first, second, made, bytes.fromhex(ROOTS[first]), bytes.fromhex(ROOTS[second]))


def test_published_proof_out_of_a_real_log() -> None:
    path = [bytes.fromhex(one) for one in REAL_PATH]
    leaf, root = bytes.fromhex(REAL_LEAF), bytes.fromhex(REAL_ROOT)
    assert verify_inclusion(leaf, REAL_INDEX, REAL_SIZE, path, root)
    assert not verify_inclusion(leaf, REAL_INDEX + 1, REAL_SIZE, path, root)


def test_every_proof_of_every_small_tree() -> None:
    leaves = some_leaves(MOST)
    # One tree, read at every size that it ever had.
    read = grown(leaves, [1] * MOST).read
    roots = [naive_root(leaves[:size]) for size in range(MOST + 1)]
    for size in range(MOST + 1):
        assert tiles.root(size, read) == roots[size]
        for index in range(size):
            assert tiles.leaf(index, read) == leaves[index]
            path = tiles.inclusion_path(index, size, read)
            assert path == naive_path(index, leaves[:size])
            assert verify_inclusion(leaves[index], index, size, path, roots[size])
        for first in range(size + 1):
            path = tiles.consistency_path(first, size, read)
            assert path == (naive_consistency(first, leaves[:size]) if first else [])
            assert verify_consistency(first, size, path, roots[first], roots[size])


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 1400), st.lists(st.integers(0, 600), max_size=8), st.randoms(use_true_random=False))
def test_trees_of_many_tiles(count: int, steps: list[int], chance: random.Random) -> None:
    leaves = some_leaves(count)
    tree = grown(leaves, steps)
    assert tree.tiles == grown(leaves, []).tiles
    for size in {count, chance.randint(1, count), 256 * (count // 256) or 1}:
        root = tiles.root(size, tree.read)
        assert root == naive_root(leaves[:size])
        frontier = Frontier()
        frontier.extend(leaves[: size // 2])
        frontier.extend(leaves[size // 2 : size])
        assert frontier.root() == root
        index, first = chance.randrange(size), chance.randint(0, size)
        path = tiles.inclusion_path(index, size, tree.read)
        assert path == naive_path(index, leaves[:size])
        assert verify_inclusion(leaves[index], index, size, path, root)
        path = tiles.consistency_path(first, size, tree.read)
        assert verify_consistency(first, size, path, tiles.root(first, tree.read), root)


def test_layout_of_the_tiles() -> None:
    leaves = some_leaves(256 * 256 + 300)
    tree = grown(leaves, [])
    assert sorted(tree.tiles) == [(0, number) for number in range(258)] + [(1, 0), (1, 1), (2, 0)]
    assert len(tree.tiles[0, 257]) == 44 * HASH_BYTES
    assert tree.tiles[1, 0][:HASH_BYTES] == naive_root(leaves[:256])
    assert tree.tiles[1, 1] == naive_root(leaves[256 * 256 : 256 * 257])
    assert tree.tiles[2, 0] == naive_root(leaves[: 256 * 256])
    path = tiles.inclusion_path(70, tree.size, tree.read)
    assert verify_inclusion(leaves[70], 70, tree.size, path, naive_root(leaves))


@settings(deadline=None, max_examples=200)
@given(st.integers(1, 600), st.randoms(use_true_random=False))
def test_a_false_inclusion_proof_proves_nothing(size: int, chance: random.Random) -> None:
    leaves = some_leaves(size)
    read = grown(leaves, []).read
    root, index = tiles.root(size, read), chance.randrange(size)
    path = tiles.inclusion_path(index, size, read)
    other = bytes(HASH_BYTES)
    assert not verify_inclusion(other, index, size, path, root)
    assert not verify_inclusion(leaves[index], index, size, path, other)
    assert not verify_inclusion(leaves[index], index, size, [*path, other], root)
    assert not verify_inclusion(leaves[index], index, size, [other, *path], root)
    for wrong in (-1, index ^ 1, index + 1, size, size + index):
        if wrong != index:
            assert not verify_inclusion(leaves[index], wrong, size, path, root)
    if path:
        place = chance.randrange(len(path))
        assert not verify_inclusion(leaves[index], index, size, path[:place] + path[place + 1 :], root)
        assert not verify_inclusion(leaves[index], index, size, [*path[:place], other, *path[place + 1 :]], root)
        assert not verify_inclusion(leaves[index], index, size, [*path[:place], b"", *path[place + 1 :]], root)


@settings(deadline=None, max_examples=200)
@given(st.integers(2, 600), st.randoms(use_true_random=False))
def test_a_false_consistency_proof_proves_nothing(second: int, chance: random.Random) -> None:
    leaves = some_leaves(second)
    read = grown(leaves, []).read
    first = chance.randint(1, second - 1)
    old, new = tiles.root(first, read), tiles.root(second, read)
    path = tiles.consistency_path(first, second, read)
    other = bytes(HASH_BYTES)
    assert not verify_consistency(first, second, path, other, new)
    assert not verify_consistency(first, second, path, old, other)
    assert not verify_consistency(first, second, path, new, old)
    assert not verify_consistency(second, first, path, new, old)
    assert not verify_consistency(first, second, [], old, new)
    assert not verify_consistency(first, second, [*path, other], old, new)
    assert not verify_consistency(first, second, [other, *path], old, new)
    assert not verify_consistency(first - 1, second, path, old, new)
    place = chance.randrange(len(path))
    assert not verify_consistency(first, second, path[:place] + path[place + 1 :], old, new)
    assert not verify_consistency(first, second, [*path[:place], other, *path[place + 1 :]], old, new)


def test_consistency_of_equal_and_empty_trees() -> None:
    some, other = sha256(b"some").digest(), sha256(b"other").digest()
    assert verify_consistency(5, 5, [], some, some)
    assert not verify_consistency(5, 5, [], some, other)
    assert not verify_consistency(5, 5, [some], some, some)
    assert verify_consistency(0, 5, [], EMPTY_ROOT, some)
    assert not verify_consistency(0, 5, [], some, some)
    assert not verify_consistency(0, 5, [some], EMPTY_ROOT, some)
    assert not verify_consistency(0, 0, [], some, some)
    assert not verify_consistency(-1, 5, [], EMPTY_ROOT, some)


def test_no_root_from_an_impossible_place() -> None:
    leaf = sha256(b"leaf").digest()
    assert root_from_inclusion(leaf, 0, 1, []) == leaf
    assert root_from_inclusion(leaf, 0, 0, []) is None
    assert root_from_inclusion(leaf, 1, 1, []) is None
    assert root_from_inclusion(leaf[:31], 0, 1, []) is None


@pytest.mark.parametrize(("index", "size"), [(0, 0), (-1, 4), (4, 4)])
def test_no_proof_of_a_leaf_that_is_not_there(index: int, size: int) -> None:
    with pytest.raises(ValueError, match=f"a tree of {size} leaves has no leaf {index}"):
        tiles.inclusion_path(index, size, grown(some_leaves(9), []).read)


@pytest.mark.parametrize(("first", "second"), [(-1, 4), (5, 4)])
def test_no_consistency_of_sizes_in_the_wrong_order(first: int, second: int) -> None:
    with pytest.raises(ValueError, match=f"a tree of {first} leaves can't begin one of {second}"):
        tiles.consistency_path(first, second, grown(some_leaves(9), []).read)


def test_tiles_that_lack_hashes_are_noticed() -> None:
    tree = grown(some_leaves(300), [])
    tree.tiles[0, 1] = tree.tiles[0, 1][:-HASH_BYTES]
    for question in (
        lambda: tiles.append(300, some_leaves(1), tree.read),
        lambda: tiles.root(300, tree.read),
        lambda: tiles.leaf(299, tree.read),
        lambda: tiles.inclusion_path(5, 300, tree.read),
        lambda: tiles.consistency_path(256, 300, tree.read),
    ):
        with pytest.raises(tiles.TreeDamaged, match="tile 1 of level 0 holds 1376 bytes"):
            question()


def test_a_tile_that_holds_more_than_the_size_says_is_not_continued() -> None:
    tree = grown(some_leaves(30), [])
    with pytest.raises(tiles.TreeDamaged, match="holds 960 bytes; it must hold 928"):
        tiles.append(29, some_leaves(1), tree.read)


def test_a_proof_reads_few_tiles() -> None:
    tree = grown(some_leaves(5000), [])
    asked: list[tuple[int, int]] = []

    def read(level: int, number: int) -> bytes:
        asked.append((level, number))
        return tree.read(level, number)

    tiles.inclusion_path(1234, 5000, read)
    assert len(asked) == len(set(asked)) <= 4
