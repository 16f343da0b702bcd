"""The progress bar of notebooks. Needs ipywidgets."""

from __future__ import annotations

from IPython.display import display
from ipywidgets import HTML, HBox, IntProgress

from distributed.progress import Watch, elapsed, run_in_background


def show(watch: Watch) -> None:
    """Display a bar, and move it from a thread until all have ended."""
    bar = IntProgress(min=0, max=max(1, watch.total), layout={"width": "60%"})
    text = HTML()

    def update(watch: Watch) -> None:
        finished, done = watch.finished, len(watch.done)
        bar.value = finished
        failed = f", {done - finished} failed" if done > finished else ""
        text.value = f"{finished} of {watch.total}{failed}, {elapsed(watch.seconds).strip()}"
        if failed:
            bar.bar_style = "danger"
        elif finished == watch.total:
            bar.bar_style = "success"

    update(watch)
    display(HBox([bar, text]))
    run_in_background(watch, update)
