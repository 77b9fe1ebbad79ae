"""What every protocol owes, whichever it is: a new file in sources/ is found and tested here by itself."""

import importlib
import pkgutil
import re
import socket
import threading
import time
from collections.abc import Iterator
from typing import get_args

import pytest
from pydantic import BaseModel, ValidationError

import sources
from assets.source import SourceConfig
from deploy.ports import free_port
from sources import connect, protocols
from sources._devices import Source
from sources._intake import Devices
from sources._partition import Stop

EXAMPLES: dict[str, tuple[str, dict[str, object], str]] = {
    "opcua": ("opc.tcp://127.0.0.1:{port}", {"security": "none"}, "nsu=urn:acme:press;s=Press01.temperature"),
    "modbus": ("tcp://127.0.0.1:{port}", {"unit": 1}, "holding:0 uint16"),
}
"""An endpoint, what else a minimal configuration wants, and an address, per protocol."""
PROTOCOLS = sorted(protocols())


def source_at(protocol: str, port: int) -> Source:
    endpoint, options, address = EXAMPLES[protocol]
    config = protocols()[protocol].model_validate({"endpoint": endpoint.format(port=port), **options})
    return connect("press-1", config, [address])


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A peer that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


@pytest.fixture
def closed_port() -> int:
    return free_port()


def test_every_public_file_with_options_is_a_protocol_and_has_an_example_here() -> None:
    public = {m.name for m in pkgutil.iter_modules(sources.__path__) if not m.name.startswith("_")}
    assert set(PROTOCOLS) == public - {"kafka"} == set(EXAMPLES)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_protocol_is_named_like_its_file(protocol: str) -> None:
    config = protocols()[protocol]
    assert issubclass(config, SourceConfig)
    assert get_args(config.model_fields["protocol"].annotation) == (protocol,)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_option_says_what_it_is(protocol: str) -> None:
    def options(model: type[BaseModel]) -> Iterator[tuple[str, str | None]]:
        for name, field in model.model_fields.items():
            yield f"{model.__name__}.{name}", field.description
            if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
                yield from options(field.annotation)

    assert [name for name, description in options(protocols()[protocol]) if not description] == []


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_option_that_does_not_exist_is_refused(protocol: str) -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        protocols()[protocol].model_validate({"endpoint": EXAMPLES[protocol][0].format(port=1), "pol": "1s"})


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_wrong_address_is_refused_with_its_form_before_anything_connects(protocol: str) -> None:
    config = protocols()[protocol]
    config.check_address(EXAMPLES[protocol][2])
    with pytest.raises(ValueError) as refused:
        config.check_address("nonsense")
    assert '"nonsense"' in str(refused.value)
    assert "expected" in str(refused.value)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_files_first_words_state_the_guarantee(protocol: str) -> None:
    assert "Guarantee: " in (importlib.import_module(f"sources.{protocol}").__doc__ or "")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_silent_peer_never_makes_the_engine_wait_and_does_not_hold_up_a_stop(protocol: str, silent_port: int) -> None:
    stop = Stop()
    source = source_at(protocol, silent_port)
    part = Devices({"press-1": source}, stop).build_part("devices", "press-1", None)
    longest, began = 0.0, time.monotonic()
    while time.monotonic() - began < 0.5:
        asked = time.thread_time()  # the CPU it took: the machine may be busy with something else
        part.next_batch()
        longest = max(longest, time.thread_time() - asked)
        time.sleep(0.001)
    assert longest < 0.5
    began = time.monotonic()
    part.close()
    assert time.monotonic() - began < 30
    assert not [thread for thread in threading.enumerate() if thread.name == "source-press-1"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_refused_connection_says_which_source_where_why_and_what_next(
    protocol: str, closed_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    source = source_at(protocol, closed_port)
    part = Devices({"press-1": source}, Stop()).build_part("devices", "press-1", None)
    deadline = time.monotonic() + 60
    while not caplog.messages and time.monotonic() < deadline:
        time.sleep(0.005)
    part.close()
    [message] = caplog.messages
    endpoint = re.escape(EXAMPLES[protocol][0].format(port=closed_port))
    form = rf'could not read source "press-1" at {endpoint}[^:]*: connection refused; trying again in \d+\.\d s'
    assert re.fullmatch(form, message)
