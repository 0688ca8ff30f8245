"""Four workers, random kills and a restart of the broker in each batch, again and again.

python benchmarks/soak_distributed.py --runs 50 --broker redis

One JSON line a run, and a summary. Each batch is compared vector by vector with a sequential
oracle. In each run the broker is restarted once (Redis keeps nothing on disk, so it loses every
message), and workers are killed with their whole process group, killed in the child that works, or
stopped for 13 s, so that they awake after their shard was taken over.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.crash import oracle
from tests.distributed.brokers import BROKERS, Broker
from tests.distributed.cluster import Chaos, Cluster, make_documents, run_batch

WORKERS = 4
FAULTS = ["kill_worker", "kill_worker", "kill_child", "freeze"]


def main() -> int:
    """Soak, print, and return 1 if anything was lost, double or wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--broker", choices=BROKERS, required=True)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--documents", type=int, default=240)
    parser.add_argument("--delay", type=float, default=0.4, help="seconds a document takes")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    totals: Counter[str] = Counter()
    takeovers: list[float] = []
    most_redone = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        docs = make_documents(folder / "docs", args.documents)
        expected = oracle.sequential(docs, "hashing")
        broker = Broker(args.broker, folder / "broker")
        broker.start()
        cluster = Cluster(broker, folder, args.delay)
        try:
            for _ in range(WORKERS):
                cluster.start_worker()
            cluster.wait_until_ready()
            for number in range(args.runs):
                dice = random.Random(f"{args.seed}/{number}")
                plan = dice.choices(FAULTS, k=dice.randint(2, 3))
                plan.insert(dice.randint(0, 1), "restart_broker")  # early, to fall into the batch
                run = run_batch(
                    cluster, docs, f"b{number}", expected, Chaos(cluster, dice, plan),
                    lambda dice=dice: dice.uniform(0.5, 4),
                )  # fmt: skip
                totals.update(run.faults)
                totals.update(documents_redone=run.redone, mismatches=len(run.mismatches))
                takeovers += run.takeovers
                most_redone = max(most_redone, run.redone)
                line = {
                    "run": number, "seconds": round(run.seconds, 1), "faults": run.faults,
                    "takeover_seconds": [round(value, 1) for value in run.takeovers],
                    "shards": run.shards, "redone": run.redone, "mismatches": run.mismatches,
                    "processed": run.report["processed_docs"],
                    "failed": run.report["failed_docs"],
                }  # fmt: skip
                print(json.dumps(line), flush=True)
        finally:
            cluster.close()
            broker.close()
    summary = {
        "broker": args.broker, "runs": args.runs, "documents_a_run": args.documents + 2,
        "workers": WORKERS, **totals, "takeovers": len(takeovers),
        "longest_takeover_seconds": round(max(takeovers, default=0), 1),
        "most_redone_in_a_run": most_redone,
    }  # fmt: skip
    print(json.dumps(summary))
    return 1 if totals["mismatches"] else 0


if __name__ == "__main__":
    sys.exit(main())
