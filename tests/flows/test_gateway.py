"""One ingest process as a gateway: what it refuses to leave behind."""

from dataclasses import replace
from pathlib import Path

import pytest

from assets.batch import Outgoing
from assets.condition import Refused
from flows._gateway import check_spools
from flows._site import Site
from sinks._spool import Block, Spool


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A site with nothing but its data folder."""
    return replace(Site.from_environment({}), data=tmp_path)


def leave(site: Site, gateway: str) -> None:
    """Records in the spool of a gateway that Kafka does not have."""
    spool = Spool(site.data / "spool" / gateway, site.spool_bytes)
    spool.append(Block("asset-stream", 3, [Outgoing(3, b"a", b"{}")]))
    spool.close()


@pytest.mark.parametrize(("left", "copies"), [("gw-1", 3), ("gw-1-2", 2), ("gw-1-0", 1)])
def test_another_number_of_copies_is_refused_while_a_spool_waits(site: Site, left: str, copies: int) -> None:
    leave(site, left)
    with pytest.raises(Refused, match="start ingest once with the former number, until it has sent them"):
        check_spools(site, copies)


@pytest.mark.parametrize(("left", "copies"), [("gw-1", 1), ("gw-1-2", 3), ("gw-10", 2), ("gw-1-north", 2)])
def test_its_own_spool_and_that_of_another_gateway_are_no_obstacle(site: Site, left: str, copies: int) -> None:
    leave(site, left)
    check_spools(site, copies)


def test_an_empty_spool_of_a_former_copy_is_no_obstacle(site: Site) -> None:
    Spool(site.data / "spool" / "gw-1-2", site.spool_bytes).close()
    check_spools(site, 2)
