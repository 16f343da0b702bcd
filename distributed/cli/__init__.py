"""The commands `dscheduler` and `dworker`, and the names under which dask's users know them.

`scheduler.py` and `worker.py` are the commands, `options.py` what their arguments may be, `process.py` what
both do as processes.
"""
