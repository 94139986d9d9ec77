"""The durable floor: what this disk lets anybody receive who synchronises each file and its folder before he answers.

No DICOM, no digest, no ledger: a length, so many bytes, and one byte back. A process for each connection writes what comes, synchronises
file and folder, and answers. No receiver that keeps one file for each object can be faster here, and keep what it answered for.
"""

import os
import socket
import struct
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_LENGTH = struct.Struct(">Q")
_BUFFER_BYTES = 1 << 18


def serve(folder: Path, port: int) -> None:
    """Receive until killed."""
    with socket.create_server(("127.0.0.1", port)) as listening:
        while True:
            connected, _ = listening.accept()
            if os.fork() == 0:
                _receive(connected, folder)
                os._exit(0)
            connected.close()


def send(port: int, files: Sequence[Path], connections: int) -> float:
    """Send all files over parallel connections and return the seconds it took."""
    started = time.perf_counter()
    with ThreadPoolExecutor(connections) as lanes:
        for lane in [lanes.submit(_send, port, files[lane::connections]) for lane in range(connections)]:
            lane.result()
    return time.perf_counter() - started


def _send(port: int, files: Sequence[Path]) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connected:
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for path in files:
            with path.open("rb") as file:
                connected.sendall(_LENGTH.pack(path.stat().st_size))
                connected.sendfile(file)
            if not connected.recv(1):
                raise RuntimeError("the floor answered nothing")


def _receive(connected: socket.socket, folder: Path) -> None:
    buffer, parent = memoryview(bytearray(_BUFFER_BYTES)), os.open(folder, os.O_RDONLY)
    number = 0
    while header := connected.recv(_LENGTH.size, socket.MSG_WAITALL):
        (left,) = _LENGTH.unpack(header)
        number += 1
        kept = folder / f"{os.getpid()}-{number}"
        with (folder / f"{kept.name}.part").open("xb", buffering=0) as file:
            while left:
                if not (count := connected.recv_into(buffer, min(left, _BUFFER_BYTES))):
                    return
                file.write(buffer[:count])
                left -= count
            os.fsync(file.fileno())
        (folder / f"{kept.name}.part").rename(kept)
        os.fsync(parent)
        connected.send(b"\1")


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]))
