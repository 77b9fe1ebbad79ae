"""How long the fault tests are: short as they stand, longer by `PENSTOCK_SEEDS` and `PENSTOCK_OUTAGE_S`."""

import os
from typing import Final

SEEDS: Final = range(int(os.environ.get("PENSTOCK_SEEDS", "2")))
"""How often a test with random moments is run; the long form has 10."""
OUTAGE_S: Final = float(os.environ.get("PENSTOCK_OUTAGE_S", "4"))
"""How long a server is away; the long form has 30."""
LONG: Final = OUTAGE_S > 4
"""Whether outages are long: then a test that has one of several ways by default goes all of them."""
