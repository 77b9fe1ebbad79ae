"""Verify: prove that a rebuilt generation of a view equals the live one where both have finished."""

from collections.abc import Callable
from typing import Final

from assets.condition import Refused
from flows._site import Site, View
from replay._compare import Verdict
from replay._generations import Generations
from replay._verify_archive import verify_archive
from replay._verify_derive import verify_derive
from replay._verify_serve import verify_serve

_VERIFY: Final[dict[View, Callable[..., Verdict]]] = {
    "derive": verify_derive,
    "serve": verify_serve,
    "archive": verify_archive,
}


def verify(
    site: Site, view: View, generation: int | None = None, against: int | None = None, *, shown: bool = False
) -> Verdict:
    """Compare a generation (default: the newest rebuilt one) with another (default: the live one)."""
    generations = Generations(site, view)
    rebuilt = generations.newest() if generation is None else generation
    live = generations.live if against is None else against
    if rebuilt == live:
        raise Refused(f'could not compare generation {live} of view "{view}" with itself; name another --generation')
    for number in (rebuilt, live):
        generations.check(number)
    return _VERIFY[view](site, generations, live, rebuilt, shown=shown)
