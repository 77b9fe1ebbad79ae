"""The local stack, the demo and the commands around them: everything that starts, watches and stops processes.

Run as `python3 -m deploy COMMAND`; deploy/ may import every other folder and no other folder imports it.
"""
