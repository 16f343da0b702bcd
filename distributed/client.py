"""The names that are looked for here in dask.distributed; dask, xarray and LightGBM import some of them."""

from distributed.executor import Client, Executor
from distributed.futures import Future, as_completed, fire_and_forget, futures_of, wait
from distributed.progress import progress
from distributed.registry import default_client, get_client

__all__ = [
    "Client",
    "Executor",
    "Future",
    "as_completed",
    "default_client",
    "fire_and_forget",
    "futures_of",
    "get_client",
    "progress",
    "wait",
]
