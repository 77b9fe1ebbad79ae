"""A site of its own for tests of replay: flows have fixed topic names, so they get a broker that nobody else writes to.

The stream is written once and never changed; the live views are made by the real flows. Tests may spoil generations
other than the live one: each makes what it needs anew.
"""

from collections.abc import Iterator

import pytest

from assets.stream import ASSET_STREAM
from deploy.stack import Stack
from flows._site import Site
from tests.replay.live_plant import FLOWS, Plant, now_us
from tests.replay.plant_stream import START, Run, S, records, write


@pytest.fixture(scope="session")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    """Two runs of a gateway on the stream, and the three views live on it."""
    folder = tmp_path_factory.mktemp("replay")
    with Stack(folder / "stack") as stack:
        environment = {**stack.environment, "PENSTOCK_DATA": str(folder), "PENSTOCK_ROLL": "10s"}
        running = Plant(Site.from_environment(environment), environment, folder)
        running.site.create_topics()
        for run in (Run(START, 60), Run(START + 100 * S, 40)):
            running.written_at.append(now_us())
            write(running.site.kafka, ASSET_STREAM, records(run))
        running.run(*FLOWS)
        yield running
