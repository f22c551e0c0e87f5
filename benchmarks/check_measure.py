"""Is what ``roofline measure`` says of this processor true? ``python benchmarks/check_measure.py MEASURED/NAME``.

Two checks against another way of finding out, for which nothing else should run, and a figure of the run's own:

1. bandwidth of main memory: a C program of its own (gcc -O3, pthreads) and, where there is no compiler, numpy's copy;
   both again in turns, since a shared host drifts;
2. products timed plainly, in turns with the ones it makes (the best of a shared host is a moment's luck);
3. the calibrated model on the run's own shapes that were not fitted: median error over GEMM, embedding bag and
   elementwise.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from roofline.catalog.load import load_chip
from roofline.evidence import measurements
from roofline.measure.cpu import Cpu
from roofline.measure.record import TEST

#: Classes of the third check.
OPERATORS = ("gemm", "embedding_bag", "elementwise")

#: Times that both ways of measuring bandwidth are tried, one after the other.
TURNS = 7

STREAM = r"""
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
static double *a, *b, *c; static long n; static int threads;
static pthread_barrier_t gate;
static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + 1e-9 * t.tv_nsec; }
static void *work(void *which) {
    long t = (long)which, low = n * t / threads, high = n * (t + 1) / threads;
    for (long i = low; i < high; i++) { a[i] = 0; b[i] = 1; c[i] = 2; }
    double best = 1e9;
    for (int r = 0; r < 12; r++) {
        pthread_barrier_wait(&gate);
        double start = now();
        for (long i = low; i < high; i++) a[i] = b[i] + 0.5 * c[i];
        pthread_barrier_wait(&gate);
        double took = now() - start;
        if (r > 1 && took < best) best = took;
    }
    if (t == 0) printf("%g\n", 24.0 * n / best);
    return 0;
}
int main(int count, char **words) {
    threads = atoi(words[1]); n = atol(words[2]);
    double **all[] = {&a, &b, &c};
    for (int i = 0; i < 3; i++) {
        *all[i] = aligned_alloc(1 << 21, 8 * n);
        madvise(*all[i], 8 * n, MADV_HUGEPAGE); /* as numpy asks for too */
    }
    pthread_barrier_init(&gate, 0, threads);
    pthread_t id[256];
    for (long t = 0; t < threads; t++) pthread_create(&id[t], 0, work, (void *)t);
    for (long t = 0; t < threads; t++) pthread_join(id[t], 0);
    return a[n / 2] > 1e30;
}
"""


def independent_bandwidth(threads: int, total_bytes: float) -> tuple[str, float]:
    """B/s of a triad over `total_bytes`, and how it was found."""
    n = int(total_bytes / 24) // 2**18 * 2**18
    if shutil.which("gcc"):
        with tempfile.TemporaryDirectory() as folder:
            source, program = Path(folder) / "stream.c", Path(folder) / "stream"
            source.write_text(STREAM)
            subprocess.run(["gcc", "-O3", "-march=native", "-pthread", "-o", program, source], check=True)
            done = subprocess.run([program, str(threads), str(n)], check=True, capture_output=True, text=True)
        return "triad in C (gcc -O3, pthreads)", float(done.stdout)
    a, b = np.empty(n), np.ones(n)
    best = min(_seconds(lambda: np.copyto(a, b)) for _ in range(12))
    return "numpy's copy (one thread)", 16.0 * n / best


def _stream(machine: Cpu, mode: str) -> float:
    """B/s of a kind of stream as ``roofline measure`` takes it."""
    size = int(4 * machine.cache_bytes)
    return max(p.value for p in machine._bandwidth(size, size, 12) if p.mode == mode)


def plain_gemm(edge: int) -> float:
    """FLOP/s of numpy's square products in fp32, the median of a dozen."""
    a, b = np.random.default_rng(0).standard_normal((2, edge, edge)).astype(np.float32)
    a @ b
    return 2.0 * edge**3 / float(np.median([_seconds(lambda: a @ b) for _ in range(12)]))


def _seconds(function) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def main() -> None:
    """Run the checks and print them."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("folder", type=Path, help="where `roofline measure` left its files")
    options.add_argument("--verbose", action="store_true", help="every row of the third check")
    given = options.parse_args()
    chip = load_chip(given.folder / f"{given.folder.name}.toml")
    machine = Cpu(seed=1)
    print(f"{chip.title}; load {os.getloadavg()[0]:.2f}")

    how, wanted = independent_bandwidth(machine.threads, 4 * machine.cache_bytes)
    probes = pd.read_csv(given.folder / "probes.csv")
    mode = "triad" if "triad" in how else "copy"
    same = probes[(probes["mode"] == mode) & (probes["probe"] == "bandwidth")]
    found = float(same.loc[same["bytes"] == same["bytes"].max(), "value"].max())
    print(f"descriptor    {float(chip['memory.main.bandwidth']) / 1e9:8.1f} GB/s     (its fastest stream)")
    print(f"main memory   {found / 1e9:8.1f} GB/s     {how}: {wanted / 1e9:.1f} GB/s   {found / wanted - 1:+.1%}")
    turns = [
        (_stream(machine, mode), independent_bandwidth(machine.threads, 4 * machine.cache_bytes)[1])
        for _ in range(TURNS)
    ]
    found, wanted = np.median(np.array(turns), axis=0)
    print(
        f"in {TURNS} turns    {found / 1e9:8.1f} GB/s     the same: {wanted / 1e9:.1f} GB/s (medians)   "
        f"{found / wanted - 1:+.1%}"
    )
    print(f"fp32 peak     {float(chip.peak('fp32')) / 1e9:8.1f} GFLOP/s  (the best product of the run)")
    for edge in (1024, 2048, 3072):
        pairs = []
        for _ in range(TURNS):
            (mine,) = machine._peak("fp32", edge, 12)
            pairs.append((mine.median, plain_gemm(edge)))
        found, wanted = np.median(np.array(pairs), axis=0)
        print(
            f"gemm {edge}     {found / 1e9:8.1f} GFLOP/s  plainly, in turns: {wanted / 1e9:.1f} GFLOP/s (medians)   "
            f"{found / wanted - 1:+.1%}"
        )

    rows = measurements.read(given.folder / "measurements.csv")
    rows = rows[rows["role"].eq(TEST) & rows["op"].isin(OPERATORS)]
    predicted = measurements.predict(rows, chip)["predicted_s"]
    error = predicted / rows["time_s"].astype(float) - 1
    if given.verbose:
        print(rows.assign(error=error).dropna(axis=1, how="all").to_string())
    for op, part in [*error.groupby(rows["op"]), ("all three", error)]:
        absolute = part.abs()
        print(
            f"{op:14}{len(part):4} shapes not fitted: median error {absolute.median():6.1%}, "
            f"90 % within {absolute.quantile(0.9):6.1%}, bias {part.median():+.1%}"
        )


if __name__ == "__main__":
    main()
