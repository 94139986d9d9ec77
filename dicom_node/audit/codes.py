"""The codes of audit messages: CID 400 to 405 (PS3.16), and the object identifiers that came from RFC 3881 (PS3.15 A.5.1.2.4)."""

from config import Code


def _dcm(value: str, meaning: str) -> Code:
    return Code(value=value, scheme="DCM", meaning=meaning)


def _rfc_3881(value: str, meaning: str) -> Code:
    return Code(value=value, scheme="RFC-3881", meaning=meaning)


# CID 400 Audit Event ID
APPLICATION_ACTIVITY = _dcm("110100", "Application Activity")
AUDIT_LOG_USED = _dcm("110101", "Audit Log Used")
BEGIN_TRANSFERRING = _dcm("110102", "Begin Transferring DICOM Instances")
INSTANCES_ACCESSED = _dcm("110103", "DICOM Instances Accessed")
INSTANCES_TRANSFERRED = _dcm("110104", "DICOM Instances Transferred")
STUDY_DELETED = _dcm("110105", "DICOM Study Deleted")
EXPORT = _dcm("110106", "Export")
SECURITY_ALERT = _dcm("110113", "Security Alert")

# CID 401 Audit Event Type Code
APPLICATION_START = _dcm("110120", "Application Start")
APPLICATION_STOP = _dcm("110121", "Application Stop")
NODE_AUTHENTICATION = _dcm("110126", "Node Authentication")
SOFTWARE_CONFIGURATION = _dcm("110131", "Software Configuration")
USE_OF_RESTRICTED_FUNCTION = _dcm("110132", "Use of Restricted Function")
AUDIT_RECORDING_STOPPED = _dcm("110133", "Audit Recording Stopped")

# CID 402 Audit Active Participant Role ID Code
APPLICATION = _dcm("110150", "Application")
DESTINATION = _dcm("110152", "Destination Role ID")
SOURCE = _dcm("110153", "Source Role ID")
DESTINATION_MEDIA = _dcm("110154", "Destination Media")

# CID 404 Audit Participant Object ID Type Code
STUDY_INSTANCE_UID = _dcm("110180", "Study Instance UID")
NODE_ID = _dcm("110182", "Node ID")

# CID 405 Media Type Code
URI_MEDIA = _dcm("110037", "URI")

# PS3.15 A.5.1.2.4
PATIENT_NUMBER = _rfc_3881("2", "Patient Number")
URI = _rfc_3881("12", "URI")
