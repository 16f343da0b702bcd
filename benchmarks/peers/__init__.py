"""The systems that are measured, a module for each: `start()` returns its `System`."""
