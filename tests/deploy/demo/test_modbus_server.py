import asyncio
import struct
from collections.abc import Awaitable, Callable

import pytest
from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusIOException

from deploy.demo.modbus_server import ModbusServer, Mood, Unit
from deploy.demo.site import free_ports

Scenario = Callable[[ModbusServer, AsyncModbusTcpClient], Awaitable[None]]


def serve(scenario: Scenario) -> None:
    async def run() -> None:
        [port] = free_ports(1)
        one, two = Unit({"holding": 20, "input": 10, "coil": 9, "discrete": 3}), Unit({"holding": 2})
        one.tables["holding"][:3] = [1, 2, 0xFFFF]
        one.tables["input"][9] = 77
        one.tables["coil"][:] = [1, 0, 0, 1, 0, 0, 0, 0, 1]
        one.tables["discrete"][2] = 1
        server = ModbusServer(port, {1: one, 2: two})
        await server.start()
        client = AsyncModbusTcpClient("127.0.0.1", port=port, timeout=30, retries=0)
        try:
            assert await client.connect()
            await scenario(server, client)
        finally:
            client.close()
            await server.stop()

    asyncio.run(run())


def test_all_four_tables_of_a_unit_can_be_read() -> None:
    async def scenario(_: ModbusServer, client: AsyncModbusTcpClient) -> None:
        assert (await client.read_holding_registers(0, count=3, device_id=1)).registers == [1, 2, 0xFFFF]
        assert (await client.read_input_registers(9, count=1, device_id=1)).registers == [77]
        coils = (await client.read_coils(0, count=9, device_id=1)).bits
        assert coils[:9] == [True, False, False, True, False, False, False, False, True]
        assert (await client.read_discrete_inputs(1, count=2, device_id=1)).bits[:2] == [False, True]

    serve(scenario)


def test_what_cannot_be_read_is_an_exception_with_its_code() -> None:
    async def scenario(server: ModbusServer, client: AsyncModbusTcpClient) -> None:
        assert (await client.write_register(0, 1, device_id=1)).exception_code == 1
        assert (await client.read_holding_registers(1, count=2, device_id=2)).exception_code == 2
        assert (await client.read_holding_registers(0, count=2, device_id=9)).exception_code == 0x0B
        server.units[1].mood = Mood.DEAD
        assert (await client.read_holding_registers(0, count=1, device_id=1)).exception_code == 0x0B
        assert not (await client.read_holding_registers(0, count=1, device_id=2)).isError()

    serve(scenario)


def test_a_silent_unit_does_not_answer_and_others_do() -> None:
    async def scenario(server: ModbusServer, client: AsyncModbusTcpClient) -> None:
        server.units[1].mood = Mood.SILENT
        hasty = AsyncModbusTcpClient("127.0.0.1", port=server.port, timeout=0.2, retries=0)
        assert await hasty.connect()
        with pytest.raises(ModbusIOException):
            await hasty.read_holding_registers(0, count=1, device_id=1)
        hasty.close()
        assert not (await client.read_holding_registers(0, count=1, device_id=2)).isError()
        server.units[1].mood = Mood.WELL
        assert not (await client.read_holding_registers(0, count=1, device_id=1)).isError()

    serve(scenario)


def test_requests_may_come_in_pieces_or_together_and_keep_their_transaction() -> None:
    async def scenario(server: ModbusServer, client: AsyncModbusTcpClient) -> None:
        client.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        requests = b"".join(struct.pack(">HHHBBHH", n, 0, 6, 1, 3, 0, 1) for n in (500, 501))
        for piece in (requests[:5], requests[5:17], requests[17:]):
            writer.write(piece)
            await writer.drain()
        answer = await reader.readexactly(22)
        assert answer == b"".join(struct.pack(">HHHBBBH", n, 0, 5, 1, 3, 2, 1) for n in (500, 501))
        writer.close()

    serve(scenario)


def test_counts_beyond_the_protocol_are_refused() -> None:
    unit = Unit({"holding": 500, "coil": 5000})
    assert unit.read(struct.pack(">BHH", 3, 0, 126)) == b"\x83\x03"
    assert unit.read(struct.pack(">BHH", 1, 0, 2001)) == b"\x81\x03"
    assert unit.read(struct.pack(">BHH", 3, 0, 0)) == b"\x83\x03"
