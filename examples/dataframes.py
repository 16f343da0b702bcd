"""A week of measurements, one every second: `make demo-dataframes`.

Dask dataframes on a cluster: the workers make the table (or read it from files) and keep it, and then
answer questions about it. Only the answers come here.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import dask
import dask.dataframe as dd
import pandas as pd

from distributed import Executor, progress

DEPARTMENTS = {"Alice": "wind", "Bob": "water", "Charlie": "wind", "Dan": "sun", "Edith": "sun"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--workers", type=int, help="worker processes [one for each core]")
    parser.add_argument("--days", type=int, default=7, help="days of measurements [7]")
    options = parser.parse_args()

    with Executor(n_workers=options.workers) as executor, tempfile.TemporaryDirectory() as folder:
        print(executor)
        start = time.perf_counter()
        end = pd.Timestamp("2000-01-01") + pd.Timedelta(days=options.days)
        week = dask.datasets.timeseries(end=str(end.date()), freq="1s", seed=1)
        print(f"Making a table of {options.days} days on the workers:")
        week = week.persist()
        progress(week)

        people, means = dask.compute(week.name.nunique(), week.groupby("name")[["x", "y"]].mean())
        print(f"{len(week):,} rows of {people} people. The largest means of x:")
        print(means.nlargest(3, "x").to_string(float_format="{:+.4f}".format))

        # A merge on a column moves the rows of each name to one place: from worker to worker.
        departments = pd.DataFrame({"name": DEPARTMENTS.keys(), "department": DEPARTMENTS.values()})
        merged = week.merge(dd.from_pandas(departments, npartitions=2), on="name")
        print("Rows by department:")
        print(merged.department.value_counts().compute().sort_index().to_string())

        smoothed = week.x.rolling("1h").mean()
        print(f"Over an hour the mean of x stays between {smoothed.min().compute():+.3f} and")
        print(f"{smoothed.max().compute():+.3f}. Written to files by the workers and read again,")
        path = Path(folder) / "week.parquet"
        week.to_parquet(path)
        again = dd.read_parquet(path)
        files = len(list(path.glob("*.parquet")))
        print(
            f"{files} of them, the sum of y differs by {(again.y.sum() - week.y.sum()).compute():.1g}."
        )
        print(f"All that took {time.perf_counter() - start:.1f} s.")


if __name__ == "__main__":
    main()
