"""This planner beside TorchRec's on the same tables: ``python benchmarks/planner.py PYTHON_WITH_TORCHREC``.

TorchRec plans in the interpreter that is named, which has ``torchrec`` and its kernels for CPUs; nothing of ours is
needed there. Both plans are then weighed by what this library says that the busiest chip has to do.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

CASES = [
    ("dlrm-v2", "a100-sxm-80gb", 8, 65536),
    ("dlrm-v2", "a100-sxm-80gb", 2, 16384),
    ("rm2", "a100-sxm-80gb", 8, 65536),
    ("dlrm-terabyte", "a100-sxm-40gb", 4, 32768),
]


def torchrec_plan(case: dict) -> dict:
    """TorchRec's plan of the tables of a case: for each, how it is split and on which ranks; and its own costs."""
    import torch
    from torchrec import EmbeddingBagCollection, EmbeddingBagConfig
    from torchrec.distributed.embeddingbag import EmbeddingBagCollectionSharder
    from torchrec.distributed.planner import EmbeddingShardingPlanner, ParameterConstraints, Topology

    n = case["devices"]
    tables = [
        EmbeddingBagConfig(
            name=t["name"],
            embedding_dim=t["dim"],
            num_embeddings=t["rows"],
            feature_names=[t["name"]],
            data_type=__import__("torchrec").modules.embedding_configs.DataType.FP16,
        )
        for t in case["tables"]
    ]
    collection = EmbeddingBagCollection(device=torch.device("meta"), tables=tables)
    topology = Topology(
        world_size=n,
        compute_device="cuda",
        hbm_cap=int(case["hbm"]),
        local_world_size=n,
        hbm_mem_bw=case["hbm_bw"] / 1000,
        intra_host_bw=case["link_bw"] / 1000,
    )  # bytes per ms
    constraints = {t["name"]: ParameterConstraints(pooling_factors=[max(t["pooling"], 0.01)]) for t in case["tables"]}
    planner = EmbeddingShardingPlanner(topology=topology, batch_size=case["batch"] // n, constraints=constraints)
    start = time.perf_counter()
    plan = planner.plan(collection, [EmbeddingBagCollectionSharder()])
    took = time.perf_counter() - start
    out = {}
    for module in plan.plan.values():
        for name, sharding in module.items():
            ranks = sharding.ranks or []
            out[name] = {"how": sharding.sharding_type, "kernel": sharding.compute_kernel, "ranks": list(ranks)}
    return {"plan": out, "took_s": took}


HEAD = """# Placing tables: this planner beside TorchRec's

Made by `python benchmarks/planner.py PYTHON_WITH_TORCHREC > docs/planner.md` (TorchRec 1.9.2, November 2026, two
busy cores). fp16 tables; both plans are weighed by what this library says that each chip has to do for a batch: its
lookups, and sending what they give (`roofline.estimates.placing.loads`). TorchRec is told the same memory, bandwidths,
pooling and batch, and weighs by its own model, for training: there a copy on every chip has gradients to be summed,
so that it copies small tables alone and keeps the others whole. In inference a copy costs memory and nothing else.
"""

HOW = {
    "table_wise": "table",
    "row_wise": "row",
    "column_wise": "column",
    "data_parallel": "replicated",
    "table_row_wise": "row",
    "table_column_wise": "column",
    "grid_shard": "row",
}


def compare(interpreter: str) -> None:
    """Print a line a case and planner: seconds to plan, the busiest chip and the mean, what was chosen."""
    import roofline as rl
    from roofline.estimates.placement import ALL, Placement, Shard
    from roofline.estimates.placing import loads

    print(HEAD)
    print("| model | chips | planner | s to plan | busiest chip, us | mean, us | plan |")
    print("| --- | --- | --- | ---: | ---: | ---: | --- |")
    for name, chip_name, devices, batch in CASES:
        model, chip = rl.load_model(name), rl.load_chip(chip_name)
        start = time.perf_counter()
        ours = rl.place(model, chip, devices=devices, batch=batch, dtype="fp16")
        took = time.perf_counter() - start
        names = {(s.group, s.index): f"t{s.group}_{s.index}" for s in ours.shards}
        tables = [
            {
                "name": label,
                "rows": model.tables[g].rows[i],
                "dim": model.tables[g].dim,
                "pooling": model.tables[g].pooling[i] / model.tables[g].samples,
            }
            for (g, i), label in sorted(names.items())
        ]
        case = {"devices": devices, "batch": batch, "tables": tables,
                "hbm": 0.9 * chip.level(chip.main_level, "capacity") - model.dense_bytes("fp16"),
                "hbm_bw": chip["memory.main.bandwidth"], "link_bw": chip["links.scale_up.bandwidth"]}  # fmt: skip
        command = [interpreter, __file__, "--plan"]
        answer = subprocess.run(command, input=json.dumps(case), capture_output=True, text=True)
        lines = [
            ("roofline", took, ours),
            (
                "greedy whole tables",
                0.0,
                rl.place(model, chip, devices=devices, batch=batch, dtype="fp16", how="table"),
            ),
        ]
        if answer.returncode == 0:
            theirs = json.loads(answer.stdout.strip().splitlines()[-1])
            shards = []
            for (g, i), label in names.items():
                one = theirs["plan"][label]
                how = HOW[one["how"]]
                if how in ("row", "replicated"):
                    shards.append(Shard(g, i, how, "memory", ALL))
                else:
                    shards += [Shard(g, i, how, "memory", rank, 1 / len(one["ranks"])) for rank in one["ranks"]]
            lines.insert(1, ("TorchRec", theirs["took_s"], Placement(model, devices, tuple(shards), "fp16")))
        else:
            print(f"TorchRec, {name}: {answer.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        for planner, seconds, plan in lines:
            work = 1e6 * loads(plan, chip, batch=batch)
            cells = [f"{name}, batch {batch:,}", f"{devices} x {chip_name}", planner, f"{seconds:.2f}"]
            cells += [f"{work.max():,.0f}", f"{work.mean():,.0f}", repr(plan).partition(": ")[2].rstrip(">")]
            print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    if sys.argv[1:] == ["--plan"]:
        print(json.dumps(torchrec_plan(json.load(sys.stdin))))
    elif len(sys.argv) == 2 and Path(sys.argv[1]).exists():
        compare(sys.argv[1])
    else:
        sys.exit(__doc__)
