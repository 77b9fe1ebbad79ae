"""The sentences: each public module is one dataflow on one screen, run by `python -m bytewax.run flows.NAME`.

No logic may live here; importing a flow has no effects, its `flow` function composes it.
"""
