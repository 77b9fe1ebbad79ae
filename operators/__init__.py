"""The verbs: what is made of readings and frames, by event time alone.

No IO, no clock, no chance and no vendor's type may enter here, so what is derived again from the stream is the same.
"""
