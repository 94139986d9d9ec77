"""A Storage SCP on pynetdicom for `bench_ingest`: `python -m tests.bench.ingest_pynetdicom plain|tuned FOLDER PORT`."""

import os
import socket
import sys
from pathlib import Path

from pynetdicom import AE, AllStoragePresentationContexts, _config, evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at run time from a table

from dicom_node.receiving.capabilities import TRANSFER_SYNTAXES


def main(mode: str, folder: Path, port: int) -> None:
    def save(event: evt.Event) -> int:
        event.dataset.save_as(folder / f"{event.request.AffectedSOPInstanceUID}.dcm", enforce_file_format=False)
        return 0x0000

    def keep(event: evt.Event) -> int:
        (folder / f"{event.request.AffectedSOPInstanceUID}.dcm").write_bytes(event.encoded_dataset())
        return 0x0000

    entity = AE(ae_title="ANY")
    entity.maximum_associations = 1000
    entity.supported_contexts = AllStoragePresentationContexts
    entity.add_supported_context(Verification)
    if mode == "tuned":
        _config.LOG_HANDLER_LEVEL = "none"
        entity.maximum_pdu_size = 131072
        # Two processes on one port, as pynetdicom binds it: the option must be there before.
        bind = socket.socket.bind

        def shared(self: socket.socket, address: object) -> None:
            self.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            bind(self, address)  # type: ignore[arg-type]

        socket.socket.bind = shared  # type: ignore[method-assign,assignment]
        os.fork()
        for context in entity.supported_contexts:
            context.transfer_syntax = list(TRANSFER_SYNTAXES)
    entity.start_server(("127.0.0.1", port), block=True, evt_handlers=[(evt.EVT_C_STORE, keep if mode == "tuned" else save)])


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
