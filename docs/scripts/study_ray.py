"""Runs a study on a Ray cluster of two nodes on this machine, and loses one in the middle.

    bench study docs/scripts/smoke_size.toml --workers 2 --threads 1 --store straight
    python docs/scripts/study_ray.py docs/scripts/smoke_size.toml straight on-ray

The second node is killed once fifteen runs are done. Rows, scores and predictions are then
compared with those of the study that was left alone.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from ray.cluster_utils import Cluster
from study_kills import compare

AFTER = 15


def runs(store: Path) -> int:
    """Runs that are done."""
    return len(list(store.glob("runs/*/done.json")))


def main() -> None:
    """Starts cluster and study, kills a node, waits, compares."""
    study, straight, store = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    second = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    words = ["study", study, "--executor", "ray", "-x", f"address={cluster.address}"]
    words += ["--threads", "1", "--device", "cpu", "--store", str(store)]
    begun = runs(store)
    process = subprocess.Popen([sys.executable, "-m", "contrabench", *words])
    while process.poll() is None and runs(store) < begun + AFTER:
        time.sleep(0.5)
    cluster.remove_node(second, allow_graceful=False)
    sys.stdout.write(f"a node was killed after {runs(store) - begun} runs\n")
    code = process.wait()
    cluster.shutdown()
    sys.exit(code or not compare(straight, store))


if __name__ == "__main__":
    main()
