"""Where archives report storage commitment on associations of their own (PS3.4 J.3.3): an SCU that is called back."""

from typing import Any

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import evt
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification  # type: ignore[attr-defined]  # made at run time from a table
from pynetdicom.transport import ThreadedAssociationServer

from config.destinations import DeliverSection
from dicom_node.delivery.commitment import CommitmentReports
from dicom_node.delivery.guarded_acceptor import DeferredHandshake, guards
from dicom_node.entity import own_entity
from dicom_node.tls.contexts import DICOM, following_server_context

MAXIMUM_ASSOCIATIONS = 10
TIMEOUT_S = 30.0


class CommitmentListener:
    """Listens until it is stopped. Who reports is known by the transaction UID, which nobody else was told."""

    def __init__(self, settings: DeliverSection, *, ae_title: str, reports: CommitmentReports) -> None:
        """Make the listener. Raises TlsFilesError if its certificate or key cannot be used."""
        self._address = (settings.commitment_host, settings.commitment_port or 0)
        tls = settings.commitment_tls
        self._context: Any = DeferredHandshake(following_server_context(tls, protocol=DICOM)) if tls else None
        self._entity = own_entity(ae_title)
        self._entity.maximum_associations = MAXIMUM_ASSOCIATIONS
        self._entity.network_timeout = self._entity.acse_timeout = self._entity.dimse_timeout = TIMEOUT_S
        syntaxes = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
        # The archive is the SCP although it requests the association; some do not say so, and are taken all the same.
        self._entity.add_supported_context(StorageCommitmentPushModel, syntaxes, scu_role=True, scp_role=True)
        self._entity.add_supported_context(Verification, syntaxes)
        self._reports = reports
        self._server: ThreadedAssociationServer | None = None

    def start(self) -> int:
        """Listen; return the port.

        Raises:
            OSError: the port is taken.
        """
        server = self._entity.start_server(
            self._address,
            block=False,
            evt_handlers=[(evt.EVT_N_EVENT_REPORT, self._reports.handle_event), *guards(TIMEOUT_S)],
            ssl_context=self._context,
        )
        if server is None:
            raise AssertionError("a server that does not block is returned")
        self._server = server
        return int(server.server_address[1])

    def stop(self) -> None:
        """Listen no more, and end what is open."""
        if self._server is not None:
            self._server.shutdown()
            self._server = None
