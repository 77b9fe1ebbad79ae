"""Measurements, each as a ratio to a reference in the same run: `python -m bench core [--json FILE]`.

Nothing here is a test: a shared machine is noisy, so medians of interleaved runs are printed, never asserted.
"""
