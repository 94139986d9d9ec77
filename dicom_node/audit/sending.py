"""Results on their way out, in the audit trail: a channel that says what the one inside it does."""

from config.destinations import CStoreDestination, Destination, FhirDestination, FolderDestination, Hl7Destination, StowDestination
from dicom_node.audit import record
from dicom_node.audit.events import InstancesSent, ResultExported, TransferBegun
from dicom_node.audit.message import EventOutcome
from dicom_node.audit.subjects import counted, patient_id_in
from dicom_node.delivery import DeliveryChannel, Outgoing, Receipt
from dicom_node.failures import describe


class AuditedChannel:
    """A channel to `destination` whose every attempt is in the audit trail: to an archive its beginning and its end, else the export."""

    def __init__(self, channel: DeliveryChannel, destination: Destination) -> None:
        self._channel = channel
        self._destination = destination

    def deliver(self, result: Outgoing) -> Receipt:
        """As the channel inside does."""
        patient = patient_id_in(result.path)
        self._begin(result, patient)
        try:
            receipt = self._channel.deliver(result)
        except Exception as exc:
            self._end(result, patient, EventOutcome.SERIOUS_FAILURE, describe(exc))
            raise
        self._end(result, patient, EventOutcome.SUCCESS, "", sent_as=receipt.sop_class_uid)
        return receipt

    def probe(self) -> str:
        """As the channel inside does; nothing of a patient is sent, so nothing is recorded."""
        return self._channel.probe()

    def _begin(self, result: Outgoing, patient: str) -> None:
        if isinstance(self._destination, CStoreDestination | StowDestination):
            peer, address = _archive(self._destination)
            record(
                TransferBegun(
                    study_instance_uid=result.study_instance_uid,
                    patient_id=patient,
                    peer=peer,
                    address=address,
                    sop_classes=counted([result.sop_class_uid]),
                )
            )

    def _end(self, result: Outgoing, patient: str, outcome: EventOutcome, words: str, *, sent_as: str = "") -> None:
        study = result.study_instance_uid
        if isinstance(self._destination, CStoreDestination | StowDestination):
            peer, address = _archive(self._destination)
            classes = counted([sent_as or result.sop_class_uid])
            sent = InstancesSent(
                study_instance_uid=study,
                patient_id=patient,
                peer=peer,
                address=address,
                sop_classes=classes,
                outcome=outcome,
                description=words,
            )
            record(sent)
        else:
            target = _target(self._destination)
            record(ResultExported(study_instance_uid=study, patient_id=patient, target=target, outcome=outcome, description=words))


def _archive(destination: CStoreDestination | StowDestination) -> tuple[str, str]:
    if isinstance(destination, StowDestination):
        return destination.url, destination.url
    return destination.ae_title, destination.host


def _target(destination: Hl7Destination | FhirDestination | FolderDestination) -> str:
    if isinstance(destination, Hl7Destination):
        return f"mllp://{destination.host}:{destination.port}"
    return destination.url if isinstance(destination, FhirDestination) else destination.folder.absolute().as_uri()
