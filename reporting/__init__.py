"""Reports: an analysis and its source headers in, DICOM objects and messages out. Functions over values; no I/O and no clock.

A new kind of result is a module with one `ResultEncoder` and one entry in `ENCODERS`.
"""

from collections.abc import Mapping

from reporting.companions.encapsulated_pdf import encode_pdf
from reporting.companions.key_objects import encode_key_objects_of_interest, encode_key_objects_of_quality
from reporting.companions.picture import HeatPicture, IllustratedEncoder, Picture, heat_to_show, images_to_show
from reporting.companions.presentation_state import encode_outline
from reporting.companions.secondary_capture import encode_secondary_capture
from reporting.fhir import encode_bundle
from reporting.hl7 import encode_order_update, encode_result
from reporting.readable import readable_html, readable_text
from reporting.region_report import encode_region_report
from reporting.result import EncodedResult, MediaType, PreviousReport, Producer, ResultEncoder
from reporting.structured_report import encode_structured_report
from reporting.variants import VARIANTS, as_variant

STANDING_RECORD = "sr-findings"
"""The kind of result that is made of every analysis, whether or not a destination takes it."""

ILLUSTRATED: Mapping[str, IllustratedEncoder] = {
    "secondary-capture": encode_secondary_capture,
    "encapsulated-pdf": encode_pdf,
}
"""The encoders that take pictures."""

SHOWING_PLACES = frozenset({"sr-regions", "gsps-outline", *ILLUSTRATED})
"""The kinds of result that show where on an image a finding is: what is looked for only if one of them is taken."""

ENCODERS: Mapping[str, ResultEncoder] = {
    STANDING_RECORD: encode_structured_report,
    "sr-regions": encode_region_report,
    **ILLUSTRATED,
    "key-objects-of-interest": encode_key_objects_of_interest,
    "key-objects-quality": encode_key_objects_of_quality,
    "gsps-outline": encode_outline,
    "hl7-oru": encode_result,
    "hl7-order": encode_order_update,
    "fhir-report": encode_bundle,
}

__all__ = [
    "ENCODERS",
    "ILLUSTRATED",
    "SHOWING_PLACES",
    "STANDING_RECORD",
    "VARIANTS",
    "EncodedResult",
    "HeatPicture",
    "IllustratedEncoder",
    "MediaType",
    "Picture",
    "PreviousReport",
    "Producer",
    "ResultEncoder",
    "as_variant",
    "encode_region_report",
    "encode_structured_report",
    "heat_to_show",
    "images_to_show",
    "readable_html",
    "readable_text",
]
