"""Measure what scoring a folder of swaps costs, by part: seconds of processor time, in one process.

    python benchmarks/scoring.py [--pairs 60] [--size 256]

Exports pairs, swaps them by landmarks, scores the folder in one process, and says what 500 pairs would take.
"""

from __future__ import annotations

import argparse
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path

from workbook import EVERY, make_looker

from swaplib import benchmark, families


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--size", type=int, default=256)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        pairs, swaps = Path(folder) / "pairs", Path(folder) / "swaps"
        steps = {
            "export": lambda: benchmark.export(pairs, "calm", chosen.pairs, chosen.size, jobs=1, progress=False),
            "run": lambda: benchmark.run(families.load("landmarks"), pairs, swaps, progress=False),
            "score": lambda: benchmark.score(pairs, {"landmarks": swaps}, jobs=1, progress=False),
            "score, gallery known": lambda: benchmark.score(pairs, {"landmarks": swaps}, jobs=1, progress=False),
        }
        for name, step in steps.items():
            spent: Counter[str] = Counter()
            began = time.process_time()
            signal.signal(signal.SIGPROF, make_looker(spent))
            signal.setitimer(signal.ITIMER_PROF, EVERY, EVERY)
            step()
            signal.setitimer(signal.ITIMER_PROF, 0)
            whole = time.process_time() - began
            parts = ", ".join(f"{part} {seconds:.1f}" for part, seconds in spent.most_common() if seconds >= 0.1)
            print(f"{name}: {whole:.1f} s for {chosen.pairs} pairs at {chosen.size} px ({parts})", flush=True)
    print(f"500 pairs: {500 / chosen.pairs:.1f} times as much but for the gallery; less on several processes")


if __name__ == "__main__":
    main()
