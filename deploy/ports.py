"""Free loopback ports: the preferred one where it is free, else one that the system gives."""

import socket

LOOPBACK = "127.0.0.1"


def free_port(preferred: int = 0, taken: frozenset[int] = frozenset()) -> int:
    """`preferred` if nothing listens there and it is not in `taken`, else any free port."""
    if preferred and preferred not in taken and _bindable(preferred):
        return preferred
    while (port := _any_port()) in taken:
        pass
    return port


def _bindable(port: int) -> bool:
    # A listener on another local address also owns the port as clients see it, so both are asked.
    return not _answers(port) and _binds("", port) and _binds(LOOPBACK, port)


def _binds(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT is free to a server
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex((LOOPBACK, port)) == 0


def _any_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
    return port
