"""More of recommendation models by hand: ensembles of interactions, transformers over features, tables in a few bags.

Three embeddings of 8 numbers throughout; the parts of a step are as ``dense_part`` gives them: columns in, columns out,
rows and repeats of a product; columns, rows, tensors read and FLOP a number of anything else.
"""

from __future__ import annotations

from typing import Any

import pytest

import roofline as rl
from roofline.models.steps import Gram, Product
from roofline.models.tables import Bag, Share, TableGroup, gathered
from tests.test_more_models import dense_part, described


def products(model: Any) -> dict[str, tuple[int, int, int, int]]:
    return {s.name: (s.m, s.n, s.k, s.copies) for s in model.steps if isinstance(s, Product)}


def test_wukong_layers() -> None:
    """A rank of 2, 3 vectors of the machine and 2 weighted sums: five of eight, from three and then from five."""
    block = {
        "type": "wukong",
        "input": "embedding",
        "layers": 2,
        "rank": 2,
        "fm_vectors": 3,
        "linear_vectors": 2,
        "hidden": [10],
    }
    model = described(block, dense=0)
    w = "wukong"
    assert dense_part(model) == {
        f"{w}.0.project": (3, 2, 8, 1),
        f"{w}.0.fm_norm": (6, 1, 1, 8),
        f"{w}.0.mlp.0": (6, 10, 1, 1),
        f"{w}.0.mlp.1": (10, 24, 1, 1),
        f"{w}.0.linear": (3, 2, 8, 1),
        f"{w}.0.skip": (3, 5, 8, 1),
        f"{w}.0.norm": (8, 5, 2, 9),
        f"{w}.1.project": (5, 2, 8, 1),
        f"{w}.1.fm_norm": (10, 1, 1, 8),
        f"{w}.1.mlp.0": (10, 10, 1, 1),
        f"{w}.1.mlp.1": (10, 24, 1, 1),
        f"{w}.1.linear": (5, 2, 8, 1),
        f"{w}.1.norm": (8, 5, 2, 9),
    }
    assert products(model) == {f"{w}.0.fm": (3, 2, 8, 1), f"{w}.1.fm": (5, 2, 8, 1)}
    first = 3 * 2 + 2 * 6 + 7 * 10 + 11 * 24 + 3 * 2 + 3 * 5 + 2 * 8
    second = 5 * 2 + 2 * 10 + 11 * 10 + 11 * 24 + 5 * 2 + 2 * 8
    assert model.dense_params == first + second
    macs = 2 * 3 * 2 * 8 + 6 * 10 + 10 * 24 + 3 * 2 * 8 + 3 * 5 * 8 + 2 * 5 * 2 * 8 + 10 * 10 + 10 * 24 + 5 * 2 * 8
    assert model.flops_per_sample == 2 * macs
    assert model.outputs == 40


def test_an_ensemble_of_interactions() -> None:
    """Four modules make two vectors of three; the norm reads their four results and the skip."""
    block: dict[str, Any] = {
        "type": "dhen",
        "input": "embedding",
        "layers": 1,
        "vectors": 2,
        "heads": 2,
        "hidden": [4],
        "modules": ["linear", "dot", "attention", "cross"],
    }
    model = described(block, dense=0)
    d = "dhen.0"
    assert dense_part(model) == {
        f"{d}.linear": (3, 2, 8, 1),
        f"{d}.dot.mlp.0": (3, 4, 1, 1),
        f"{d}.dot.mlp.1": (4, 16, 1, 1),
        f"{d}.attention.qkv": (8, 24, 3, 1),
        f"{d}.attention.softmax": (3, 6, 1, 5),
        f"{d}.attention.out": (8, 8, 3, 1),
        f"{d}.attention.sums": (3, 2, 8, 1),
        f"{d}.cross.down": (24, 4, 1, 1),
        f"{d}.cross.up": (4, 24, 1, 1),
        f"{d}.cross.combine": (24, 1, 3, 2),
        f"{d}.cross.sums": (3, 2, 8, 1),
        f"{d}.skip": (3, 2, 8, 1),
        f"{d}.norm": (8, 2, 5, 12),
    }
    assert products(model) == {f"{d}.attention.scores": (3, 3, 8, 1), f"{d}.attention.values": (3, 8, 3, 1)}
    assert [s.pairs for s in model.steps if isinstance(s, Gram)] == [3]
    dot, attention, cross = 4 * 4 + 5 * 16, 9 * 24 + 9 * 8 + 6, 24 * 4 + 5 * 24 + 6
    assert model.dense_params == 6 + dot + attention + cross + 6 + 16
    assert model.outputs == 16
    twice = described({**block, "vectors": 3, "modules": ["linear", "linear"]}, dense=0)
    assert list(dense_part(twice)) == ["dhen.0.linear0", "dhen.0.linear1", "dhen.0.norm"]  # the skip as it is
    assert dense_part(twice)["dhen.0.norm"] == (8, 3, 3, 10)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"modules": ["attention"], "heads": 3}, "heads: expected a divisor of the width 8, found 3"),
        ({"modules": ["cross"], "hidden": []}, "hidden: expected the rank of the cross module first"),
    ],
)
def test_ensembles_that_cannot_be(change: dict[str, Any], words: str) -> None:
    block = {"type": "dhen", "input": "embedding", "layers": 1, "vectors": 2, "hidden": [4], **change}
    with pytest.raises(rl.BadModel, match=words):
        described(block, dense=0)
    described(
        {"type": "dhen", "input": "embedding", "layers": 1, "vectors": 2, "modules": ["linear"], "heads": 3}, dense=0
    )


def test_pairs_of_one_vector_are_none() -> None:
    block = {"type": "dhen", "input": "t", "layers": 1, "vectors": 2, "modules": ["dot"]}
    with pytest.raises(rl.BadModel, match="modules: expected at least two vectors to multiply, found one"):
        described(block, tables=[{"name": "t", "rows": 10, "dim": 8}], dense=0)


@pytest.mark.parametrize(("pool", "outputs"), [(True, 8), (False, 24)])
def test_a_transformer_over_features(pool: bool, outputs: int) -> None:
    """Two layers of two heads over three vectors: 3 x 3 scores a head, a feed-forward of 20, their mean in the end."""
    block = {"type": "self_attention", "input": "embedding", "layers": 2, "heads": 2, "hidden": 20, "pool": pool}
    model = described(block, dense=0)
    s = "self_attention"
    mean = {f"{s}.mean": (8, 3, 1, 1)} if pool else {}
    assert dense_part(model) == {
        f"{s}.norm": (8, 3, 1, 8),
        f"{s}.qkv": (8, 24, 3, 1),
        f"{s}.softmax": (3, 6, 1, 5),
        f"{s}.out": (8, 8, 3, 1),
        f"{s}.ffn_norm": (8, 3, 2, 9),
        f"{s}.up": (8, 20, 3, 1),
        f"{s}.down": (20, 8, 3, 1),
        **mean,
    }
    assert products(model) == {f"{s}.scores": (3, 3, 8, 2), f"{s}.values": (3, 8, 3, 2)}
    assert model.flops_per_sample == 2 * 2 * (3 * 8 * 24 + 2 * 3 * 3 * 8 + 3 * 8 * 8 + 2 * 3 * 8 * 20)
    assert model.dense_params == 2 * (16 + 9 * 24 + 9 * 8 + 16 + 9 * 20 + 21 * 8)
    assert model.outputs == outputs
    if pool:
        assert model.steps[-1].writes == 1 / 3
    with pytest.raises(rl.BadModel, match="heads: expected a divisor of the width 8, found 5"):
        described({**block, "heads": 5}, dense=0)


# Tables ---------------------------------------------------------------------------------------------------------------


def test_what_a_sample_reads_of_a_group() -> None:
    pooled = TableGroup("a", (10, 30), 4, (2.0, 3.0))
    assert (pooled.tables, pooled.vectors, pooled.lookups, pooled.params) == (2, 2, 5, 160)
    kept = TableGroup("b", (10, 30), 4, (1.0, 1.0), sequence=6, samples=4)
    assert (kept.vectors, kept.lookups) == (12, 3)
    assert TableGroup("c", (10, 30), 4, (1.0, 1.0), owned=False).params == 0


def test_tables_of_about_one_size_are_one_bag() -> None:
    """Up to 100,000 rows, up to ten million, and beyond; sums of rows and lookups stay what they are."""
    sizes = (99_999, 100_000, 9_999_999, 10_000_000, 30_000_000)
    bags = gathered((TableGroup("embedding", sizes, 8, (1.0, 2.0, 4.0, 8.0, 16.0)),))
    assert {b.name: (b.tables, b.rows, b.pooling) for b in bags} == {
        "embedding.small": (1, 99_999, 1),
        "embedding.medium": (2, 10_099_999 / 2, 3),
        "embedding.large": (2, 20_000_000, 12),
    }


def test_names_of_bags() -> None:
    """By the groups of the file, where a bag has no more than three; else by what tells them apart."""
    three = tuple(TableGroup(name, (50,), 8, (1.0,)) for name in "abc")
    assert [b.name for b in gathered(three)] == ["embedding.a+b+c"]
    four = tuple(TableGroup(name, (50,), 8, (1.0,)) for name in "abcd")
    assert [b.name for b in gathered(four)] == ["embedding"]
    unnamed = (TableGroup("tables_1", (50,), 8, (1.0,)), TableGroup("tables_2", (50,), 16, (1.0,)))
    assert [b.name for b in gathered(unnamed)] == ["embedding.dim8", "embedding.dim16"]
    listed = (TableGroup("embedding", (50,), 8, (1.0,)), TableGroup("tables_2", (50,), 8, (1.0,), sequence=5))
    assert [b.name for b in gathered(listed)] == ["embedding", "embedding.seq5"]
    assert [b.name for b in gathered((TableGroup("tables_x", (50,), 8, (1.0,)),))] == ["embedding.tables_x"]


def test_rows_of_one_popularity_are_a_table_of_their_own() -> None:
    """A tenth of the rows has nine tenths of the lookups; no class has less than a row."""
    bags = gathered((TableGroup("a", (1000,), 8, (10.0,), popularity=((0.1, 0.9), (0.9, 0.1))),))
    assert [(b.name, b.rows, b.pooling, b.skew) for b in bags] == [
        ("embedding.a.part1", 100, 9, None),
        ("embedding.a.part2", 900, 1, None),
    ]
    least = gathered((TableGroup("a", (3,), 8, (10.0,), popularity=((0.1, 0.5), (0.9, 0.5))),))
    assert [b.rows for b in least] == [1, pytest.approx(2.7)]
    skewed = (TableGroup("tables_1", (50,), 8, (1.0,), skew=1.2), TableGroup("tables_2", (50,), 8, (1.0,), skew=0.5))
    assert [(b.name, b.skew) for b in gathered(skewed)] == [("embedding.part1", 0.5), ("embedding.part2", 1.2)]
    named = (TableGroup("a", (50,), 8, (1.0,), skew=1.2), TableGroup("b", (50,), 8, (1.0,), skew=0.5))
    assert [(b.name, b.skew) for b in gathered(named)] == [("embedding.b", 0.5), ("embedding.a", 1.2)]


def test_rows_that_are_kept_share_the_room_by_size() -> None:
    small, large = Bag("s", 2, 10.0, 4, 1.0, 0), Bag("l", 1, 120.0, 2, 1.0, 0)
    share = Share((), kept=(small, large), kept_bytes=800.0)
    assert (share.kept_bytes_of(small), share.kept_bytes_of(large)) == (200, 600)
