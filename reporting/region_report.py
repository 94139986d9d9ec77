"""The region report: where on the images the Present findings are, for viewers that draw regions (TID 1410, PS3.16)."""

from collections.abc import Sequence

from pydicom.dataset import Dataset

from inference.findings import Analysis
from reporting.content import localised, regions_content
from reporting.document import DocumentKind, encode_document
from reporting.evidence import evidence_of
from reporting.result import EncodedResult, PreviousReport, Producer

KIND = DocumentKind(name="sr-regions", series_description="AI TRIAGE REGIONS - UNVERIFIED - RESEARCH", series_number=9911)


def encode_region_report(
    analysis: Analysis,
    headers: Sequence[Dataset],
    *,
    producer: Producer,
    previous: PreviousReport | None,
    companions: Sequence[EncodedResult] = (),
) -> EncodedResult | None:
    """Return the region report of `analysis`; None if nothing is localised and no earlier regions have to be superseded.

    Raises:
        ValueError: as `encode_structured_report`; or a region is on no image of its finding, or leads out of it.
    """
    if not localised(analysis) and previous is None:
        return None
    evidence = evidence_of(analysis, headers)
    root = regions_content(analysis, evidence, producer)
    return encode_document(KIND, analysis, evidence, root, producer=producer, previous=previous)
