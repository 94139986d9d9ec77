"""When a study counts as complete. A pure rule over what the ledger knows."""

from datetime import datetime

from config.schema import SettleSection
from dicom_node.ledger import OpenStudy


def why_settled(study: OpenStudy, settings: SettleSection, now: datetime) -> str | None:
    """Return why `study` counts as complete at `now`, in words, or None if it does not yet.

    Of several modalities the most patient one decides. The expected count is Number of Study Related Instances
    (0020,1208) as some senders write it; it settles a study at once, but never holds one back.
    """
    if study.expected_instances is not None and study.instances >= study.expected_instances:
        return f"all {study.expected_instances} expected instances arrived"
    if study.urgent:
        quiet_s = settings.urgent_quiet_s
    else:
        quiet_s = max(settings.quiet_by_modality_s.get(modality, settings.quiet_s) for modality in study.modalities)
    if (now - study.last_arrival).total_seconds() >= quiet_s:
        return f"quiet for {quiet_s:g} s"
    if (now - study.first_arrival).total_seconds() >= settings.maximum_wait_s:
        return f"open for {settings.maximum_wait_s:g} s"
    return None
