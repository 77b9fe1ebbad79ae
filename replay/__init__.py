"""History as a tool: rebuild, verify, switch, what-if and as-of, and the archive for analysts.

May use everything below it; flows never know of it.
"""
