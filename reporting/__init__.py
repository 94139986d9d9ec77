"""Reports: an analysis and its source headers in, DICOM objects out. Functions over values; no I/O and no clock.

A new kind of result is a module with one `ResultEncoder` and one entry in `ENCODERS`.
"""

from collections.abc import Mapping

from reporting.readable import readable_html, readable_text
from reporting.result import EncodedResult, PreviousReport, Producer, ResultEncoder
from reporting.structured_report import encode_structured_report

ENCODERS: Mapping[str, ResultEncoder] = {
    "sr-findings": encode_structured_report,
}

__all__ = [
    "ENCODERS",
    "EncodedResult",
    "PreviousReport",
    "Producer",
    "ResultEncoder",
    "encode_structured_report",
    "readable_html",
    "readable_text",
]
