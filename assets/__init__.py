"""The noun: what an asset is, what it says and how that is written on the stream.

Records, vocabularies and the plant folder live here; no network, no clock, no engine.
"""
