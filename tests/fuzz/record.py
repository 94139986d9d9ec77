"""Records what real senders say to a receiver: `python -m tests.fuzz.record` renews tests/fuzz/corpus/conversations.

A conversation is every byte of the sender, in order. The patient is CANARY^PHI.
"""

import contextlib
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.pdu_primitives import (
    AsynchronousOperationsWindowNegotiation,
    SCP_SCU_RoleSelectionNegotiation,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityNegotiation,
)
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at run time from a table

from dicom_node.entity import keep_answers
from tests.peers.test_storescu import dcmtk
from tests.receiving import CALLED, CALLING, ct_slice, receiving, write_file

FOLDER = Path(__file__).parent / "corpus" / "conversations"


@contextmanager
def recorder(port: int) -> Iterator[tuple[int, bytearray]]:
    """Pass one connection on to `port`, and keep what its client says."""
    said = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            client, _ = server.accept()
            with client, socket.create_connection(("127.0.0.1", port)) as node:
                back = threading.Thread(target=copy, args=(node, client, bytearray()), daemon=True)
                back.start()
                copy(client, node, said)
                back.join(10)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1], said
        thread.join(20)


def copy(source: socket.socket, target: socket.socket, kept: bytearray) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            kept += data
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def entity() -> AE:
    requestor = AE(ae_title=CALLING)
    requestor.add_requested_context(CTImageStorage, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
    requestor.add_requested_context(Verification)
    return requestor


def everything_negotiated(port: int) -> None:
    window = AsynchronousOperationsWindowNegotiation()
    window.maximum_number_operations_invoked, window.maximum_number_operations_performed = 5, 1
    roles = SCP_SCU_RoleSelectionNegotiation()
    roles.sop_class_uid, roles.scu_role, roles.scp_role = CTImageStorage, True, True
    extended = SOPClassExtendedNegotiation()
    extended.sop_class_uid, extended.service_class_application_information = CTImageStorage, b"\x02\x00\x03\x00\x01\x00"
    common = SOPClassCommonExtendedNegotiation()
    common.sop_class_uid, common.service_class_uid = CTImageStorage, "1.2.840.10008.4.2"
    user = UserIdentityNegotiation()
    user.user_identity_type, user.positive_response_requested, user.primary_field = 1, True, b"CANARY"
    association = entity().associate("127.0.0.1", port, ae_title=CALLED, ext_neg=[window, roles, extended, common, user])
    keep_answers(association)
    association.send_c_echo()
    association.release()


def aborted(port: int, path: Path) -> None:
    association = entity().associate("127.0.0.1", port, ae_title=CALLED)
    keep_answers(association)
    association.send_c_store(path)
    association.abort()


def main() -> None:
    """Record all of them."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        one = write_file(folder / "explicit.dcm", ct_slice("2.25.1", rows=8))
        two = write_file(folder / "implicit.dcm", ct_slice("2.25.2", rows=8), ImplicitVRLittleEndian)
        large = write_file(folder / "large.dcm", ct_slice("2.25.3", rows=64))
        to = ("-aet", CALLING, "-aec", CALLED, "127.0.0.1")
        commands: dict[str, Any] = {
            "dcmtk-echo": lambda port: run("echoscu", *to, str(port)),
            "dcmtk-echo-thrice": lambda port: run("echoscu", "--repeat", "3", *to, str(port)),
            "dcmtk-store-explicit": lambda port: run("storescu", "-R", *to, str(port), str(one)),
            "dcmtk-store-two": lambda port: run("storescu", "-R", "-xi", *to, str(port), str(one), str(two)),
            "dcmtk-store-small-pdus": lambda port: run("storescu", "-R", "--max-send-pdu", "4096", *to, str(port), str(large)),
            "dcmtk-stranger": lambda port: run("echoscu", "-aet", "STRANGER", "-aec", CALLED, "127.0.0.1", str(port)),
            "pynetdicom-everything-negotiated": everything_negotiated,
            "pynetdicom-aborted": lambda port: aborted(port, one),
        }
        with receiving(folder / "node") as node:
            for called, say in commands.items():
                with recorder(node.port) as (port, said):
                    say(port)
                (FOLDER / f"{called}.bin").write_bytes(said)
                print(f"{called}: {len(said)} bytes")


def run(tool: str, *arguments: str) -> None:
    subprocess.run([dcmtk(tool), *arguments], check=False, timeout=30)


if __name__ == "__main__":
    main()
