import asyncio
import logging
import math
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from asyncua import ua
from pydantic import ValidationError

from assets.frame import Flag
from assets.status import BAD_ENCODING_ERROR, BAD_NODE_ID_UNKNOWN, BAD_SENSOR_FAILURE
from deploy.ports import free_port
from sources import _opcua_security, _opcua_session, _opcua_subscription, opcua
from sources.opcua import Config, Source
from tests.proxy import Proxy
from tests.sources.opcua_server import Machine, address
from tests.sources.recorder import asynchronous, running, the_loop

TEMPERATURE, STATE = address("Press01.temperature"), address("Press01.state")
VALUES = {"Press01.temperature": 20.5, "Press01.state": "Idle"}
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
NOON_US = 1795176000000000


def source(port: int, addresses: list[str] | None = None, **options: object) -> Source:
    options = {"security": "none", "publishing_interval": "50ms", **options}
    config = Config.model_validate({"endpoint": f"opc.tcp://127.0.0.1:{port}", **options})
    return Source("forming", config, addresses or [TEMPERATURE, STATE])


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(opcua, "RECONNECT_S", (0.05, 0.2))
    monkeypatch.setenv("PENSTOCK_DATA", str(tmp_path))


@pytest.fixture(scope="module")
def server() -> Iterator[Machine]:
    """One server for all tests that do not restart it."""
    machine = Machine(VALUES)
    the_loop().run(machine.start())
    yield machine
    the_loop().run(machine.stop())


@pytest.fixture
def machine(server: Machine) -> Machine:
    """The shared server with its first values."""
    for name, value in VALUES.items():
        the_loop().run(server.write(name, value))
    return server


@pytest.fixture
def retries_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_opcua_subscription, "RETRY_S", (0.1, 0.1))


@pytest.fixture
def probes_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_opcua_subscription, "PROBE_S", 0.1)
    monkeypatch.setattr(_opcua_session, "KEEP_ALIVE_S", 0.2)


@asynchronous
async def test_first_values_are_initial_and_changes_come_with_status_and_time(machine: Machine) -> None:
    async with running(source(machine.port)) as got:
        first = await got.until_value(TEMPERATURE, 20.5)
        assert (first.status, first.flags) == (0, Flag.INITIAL)
        await machine.write("Press01.temperature", 81.25, time=NOON)
        changed = await got.until_value(TEMPERATURE, 81.25)
        assert (changed.status, changed.source_time, changed.flags) == (0, NOON_US, 0)
        assert [link.available for link in got.links] == [True]
        last = got.batches[-1]
        assert last.clock is not None
        assert abs(last.clock - last.received) < 5_000_000
        assert got.gaps == []


@asynchronous
async def test_what_the_server_says_of_a_value_is_kept(machine: Machine) -> None:
    async with running(source(machine.port, [TEMPERATURE])) as got:
        await got.until_value(TEMPERATURE, 20.5)
        await machine.write("Press01.temperature", 21.0, BAD_SENSOR_FAILURE)
        await got.until(lambda r: r.readings(TEMPERATURE)[-1].status == BAD_SENSOR_FAILURE)
        assert got.readings(TEMPERATURE)[-1].value is None
        await machine.write("Press01.temperature", 22.0, 0x40920000 | 0x480)
        reading = await got.until_value(TEMPERATURE, 22.0)
        assert (reading.status, reading.flags) == (0x40920480, Flag.OVERFLOW)
        await machine.write("Press01.temperature", math.nan)
        await got.until(lambda r: r.readings(TEMPERATURE)[-1].status == BAD_ENCODING_ERROR)
        assert got.readings(TEMPERATURE)[-1].source_time is None


@asynchronous
async def test_every_change_between_two_publishes_arrives_in_order(machine: Machine) -> None:
    counter = address("counter")
    await machine.add("counter", ua.Variant(0, ua.VariantType.Int64))
    fast = {"sampling_interval": "1ms", "publishing_interval": "200ms"}
    async with running(source(machine.port, [counter], **fast)) as got:
        await got.until_value(counter, 0)
        for n in range(1, 101):
            await machine.write("counter", ua.Variant(n, ua.VariantType.Int64))
        await got.until_value(counter, 100)
        assert [r.value for r in got.readings(counter)] == list(range(101))


@pytest.mark.usefixtures("retries_soon")
@asynchronous
async def test_a_node_that_does_not_exist_is_bad_once_and_found_when_it_appears(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    late, foreign = address("late"), "nsu=urn:nowhere;s=x"
    async with running(source(machine.port, [TEMPERATURE, late, foreign])) as got:
        await got.until_value(TEMPERATURE, 20.5)
        await got.until(lambda r: r.readings(late))
        assert [(r.value, r.status) for r in got.readings(late)] == [(None, BAD_NODE_ID_UNKNOWN)]
        await machine.add("late", 7)
        reading = await got.until_value(late, 7)
        assert reading.flags == Flag.INITIAL
        assert len(got.readings(foreign)) == 1
    assert caplog.messages == [
        (
            f'could not subscribe to "{late}" (BadNodeIdUnknown), "{foreign}" (BadNodeIdUnknown) of source "forming"; '
            "trying again in 0.1 s"
        )
    ]


@asynchronous
async def test_a_restart_is_a_loss_a_gap_and_initial_values_also_when_the_namespace_has_moved(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    async with Machine(VALUES) as machine, running(source(machine.port)) as got:
        await got.until_value(TEMPERATURE, 20.5)
        proof = got.batches[-1].received
        await machine.stop()
        await got.until(lambda r: len(r.links) == 2)
        assert (got.links[1].available, got.links[1].reason) == (False, "connection closed by the server")
        machine.extra_namespace, machine.values["Press01.temperature"] = True, 99.5
        await machine.start()
        again = await got.until_value(TEMPERATURE, 99.5)
        assert again.flags == Flag.INITIAL
        assert [link.available for link in got.links] == [True, False, True]
        [gap] = got.gaps
        assert gap.addresses == []
        assert gap.start >= proof
        assert gap.reason == "connection closed by the server"
        assert gap.end == next(b.received for b in got.batches if b.received > gap.start)
    where = f'source "forming" at opc.tcp://127.0.0.1:{machine.port}'
    lost, *_, back = [message for message in caplog.messages if "forming" in message]
    assert lost.startswith(f"could not read {where}: connection closed by the server; trying again in 0.")
    assert back == f"{where} is back"


@pytest.mark.usefixtures("probes_often")
@asynchronous
async def test_a_subscription_lost_on_a_living_session_is_made_anew(machine: Machine) -> None:
    async with running(source(machine.port)) as got:
        await got.until_value(TEMPERATURE, 20.5)
        await machine.drop_subscriptions()
        await got.until(lambda r: r.gaps)
        await machine.write("Press01.temperature", 30.0)
        await got.until_value(TEMPERATURE, 30.0)
        assert [link.available for link in got.links] == [True]
        assert got.gaps[0].end > got.gaps[0].start


@pytest.mark.usefixtures("probes_often")
@asynchronous
async def test_an_idle_link_is_proved_by_keep_alives(machine: Machine) -> None:
    async with running(source(machine.port)) as got:
        await got.until_value(TEMPERATURE, 20.5)
        got.mark()
        await got.until(lambda r: r._proved)


@pytest.mark.usefixtures("probes_often")
@asynchronous
async def test_a_black_hole_is_noticed_and_left(machine: Machine) -> None:
    async with Proxy(machine.port) as proxy, running(source(proxy.port, timeout="500ms")) as got:
        await got.until_value(TEMPERATURE, 20.5)
        proxy.hole()
        await got.until(lambda r: len(r.links) == 2)
        assert got.links[1].reason == "no answer within 0.5 s"
        proxy.reset()
        proxy.forward()
        await got.until(lambda r: len(r.links) == 3)
        await machine.write("Press01.temperature", 40.0)
        await got.until_value(TEMPERATURE, 40.0)


@pytest.mark.usefixtures("probes_often")
@asynchronous
async def test_a_slow_network_is_not_a_loss(machine: Machine) -> None:
    async with Proxy(machine.port) as proxy:
        proxy.delay_s = 0.15
        async with running(source(proxy.port, timeout="2s")) as got:
            for value in (1.0, 2.0, 3.0):
                await got.until(lambda r: r.links)
                await machine.write("Press01.temperature", value)
                await got.until_value(TEMPERATURE, value)
            assert [link.available for link in got.links] == [True]


@asynchronous
async def test_an_unreachable_server_is_one_line_and_not_one_per_attempt(caplog: pytest.LogCaptureFixture) -> None:
    port = free_port()
    async with running(source(port)) as got:
        await got.until(lambda r: r.links)
        await asyncio.sleep(0.5)  # several attempts; nothing may happen, so there is nothing to wait for
        assert [(link.available, link.reason) for link in got.links] == [(False, "connection refused")]
        assert got.batches == []
    [message] = caplog.messages
    start = f'could not read source "forming" at opc.tcp://127.0.0.1:{port}: connection refused; trying again in 0.'
    assert message.startswith(start)


@asynchronous
async def test_a_stop_leaves_nothing_on_the_server(machine: Machine) -> None:
    before = machine.subscriptions
    async with running(source(machine.port)) as got:
        await got.until_value(TEMPERATURE, 20.5)
        assert machine.subscriptions == before + 1
    assert machine.subscriptions == before


@pytest.mark.usefixtures("probes_often")
@asynchronous
async def test_the_server_is_not_asked_while_the_flow_is_behind(machine: Machine) -> None:
    counter = address("parts")
    await machine.add("parts", 0)
    async with running(source(machine.port, [counter])) as got:
        await got.until_value(counter, 0)
        got._most = 0
        await asyncio.sleep(1.0)  # longer than it takes to call a silent subscription lost
        got._most = 1000
        await machine.write("parts", 1)
        await got.until_value(counter, 1)
        assert got.gaps == []


@asynchronous
async def test_security_is_the_default_and_an_unprotected_server_is_refused(machine: Machine) -> None:
    protected = Source("forming", Config.model_validate({"endpoint": f"opc.tcp://127.0.0.1:{machine.port}"}), ["i=1"])
    async with running(protected) as got:
        await got.until(lambda r: r.links)
        reason = "the server offers no endpoint with security sign_and_encrypt, Basic256Sha256"
        assert (got.links[0].available, got.links[0].reason) == (False, reason)


@asynchronous
async def test_an_encrypted_server_is_read_once_its_certificate_is_trusted(tmp_path: Path) -> None:
    certificate, key = _opcua_security.own_certificate(tmp_path / "server")
    uri = _opcua_security.application_uri(_opcua_security.load(certificate))
    machine = Machine(VALUES)
    await machine.start(
        policies=[ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt],
        load_certificate=(certificate,),
        load_private_key=(key,),
        set_application_uri=(uri,),
    )
    try:
        async with running(source(machine.port, security="sign_and_encrypt")) as got:
            await got.until(lambda r: r.links)
            pki = tmp_path / "pki"
            [rejected] = (pki / "rejected").iterdir()
            reason = f"the server's certificate is not trusted; if {rejected} is right, move it to {pki / 'trusted'}"
            assert got.links[0].reason == reason
            (pki / "trusted").mkdir()
            rejected.rename(pki / "trusted" / rejected.name)
            await got.until_value(TEMPERATURE, 20.5)
            assert (pki / "own" / "key.pem").stat().st_mode & 0o777 == 0o600
    finally:
        await machine.stop()


def test_the_queue_holds_what_two_publishing_intervals_bring() -> None:
    def timing(**options: object) -> _opcua_session.Timing:
        return Config.model_validate({"endpoint": "opc.tcp://h:1", **options}).timing

    assert timing() == (500.0, 500.0, 2, 5.0)
    assert timing(publishing_interval="500ms", sampling_interval="30ms").queue_size == 34
    assert timing(publishing_interval="500ms", sampling_interval="100ms", queue_size=5).queue_size == 5
    assert (timing().keep_alive_count, timing().lifetime_count) == (10, 1200)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (
            {"endpoint": "http://h"},
            "expected opc.tcp://HOST:PORT, such as opc.tcp://10.0.0.5:4840; user and password go",
        ),
        ({"endpoint": "opc.tcp://gw:secret@h:1"}, "user and password go into security"),
        ({"queue_size": 1, "sampling_interval": "100ms"}, "queue_size 1 would lose changes unseen: one publishing"),
        ({"security": {"password": "secret"}}, "a password needs a user"),
        ({"security": {"key": "key.pem"}}, "certificate and key belong together: give both or none"),
        ({"security": "off"}, "'none', 'sign' or 'sign_and_encrypt'"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(options: dict[str, object], error: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Config.model_validate({"endpoint": "opc.tcp://h:1", **options})
    [problem] = refused.value.errors(include_input=False)
    assert error in problem["msg"]
    assert "secret" not in problem["msg"]
