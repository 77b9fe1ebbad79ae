"""`python3 -m deploy COMMAND`: makes its environment with the standard library alone, then goes on inside it.

Also runs as `python3 PATH/TO/deploy COMMAND` from any folder. This file and deploy/bootstrap.py also run on the old
Pythons that they refuse (3.6 and newer).
"""

import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def main() -> int:
    """Enter the environment, then run the command."""
    sys.path[0] = ROOT  # as a folder argument, deploy/ itself would be first: its nats.py is not the client
    os.environ.setdefault("PENSTOCK_CALLED_FROM", os.getcwd())
    os.chdir(ROOT)
    from deploy.bootstrap import enter

    enter(sys.argv[1:])
    from deploy.cli import main as run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
