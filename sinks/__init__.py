"""Doors out: one file per system we write to, named after it.

A sink may import assets, `bytewax.outputs` and one vendor client; it gives a record no meaning of its own.
"""
