"""Doors out: one public file per system, each with its sinks.

A sink knows one vendor client and no business meaning, and its docstring says what becomes of a record written twice.
"""
