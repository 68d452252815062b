"""Ports for tests in which processes meet."""

import random
import socket


def find_port() -> int:
    """Return a free port of this machine that the system gives to nobody by itself.

    It gives those from 32768 on to every connection, so one that was free a moment ago may be taken; and a process
    that asks for its partner there too early may be connected to itself.
    """
    for port in random.SystemRandom().sample(range(20_000, 32_000), 100):
        with socket.socket() as free:
            try:
                free.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("100 ports of this machine are in use")
