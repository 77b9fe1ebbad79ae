"""The simulated plant: pure models of the machines, the servers that show them, scripted faults and the ground truth.

Only the servers touch the network and only `__main__.py` knows the wall clock; everything else is a function of
(seed, time since the start).
"""
