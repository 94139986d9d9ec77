"""The audit trail of the node (PS3.15 A.5, IHE ATNA): one door wherever something happens that somebody must answer for.

    audit.record(StudyDeleted(study_instance_uid=..., ...))

A process opens the trail once. Where none is open (a function tried by hand, a test of something else) nothing is recorded.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from config.schema import Settings
from dicom_node.audit.door import Door, source_of, trail_folder

__all__ = ["close_trail", "open_trail", "record", "record_soon", "source_of", "trail_folder", "trail_open"]

_door = Door()

open_trail = _door.open
close_trail = _door.close
record = _door.record
record_soon = _door.record_soon


@contextmanager
def trail_open(settings: Settings, *, process: str) -> Iterator[None]:
    """Have the trail of these settings open meanwhile.

    Raises:
        OSError: the folder of the trail cannot be made or written.
    """
    open_trail(settings, process=process)
    try:
        yield
    finally:
        close_trail()
