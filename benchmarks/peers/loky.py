"""loky's reusable executor, which joblib runs on."""

from __future__ import annotations

import loky

from benchmarks.peers.pools import Pool
from benchmarks.workloads import WORKERS


def start() -> Pool:
    # Its default is to end idle processes after ten seconds.
    pool = loky.get_reusable_executor(max_workers=WORKERS, timeout=600)
    return Pool(f"loky {loky.__version__}", pool)
