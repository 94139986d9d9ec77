"""The findings report: what was looked for and found, on which images, how good they are, and what could not be answered."""

from collections.abc import Sequence

from pydicom.dataset import Dataset

from inference.findings import Analysis
from reporting.content import findings_content
from reporting.document import DocumentKind, encode_document
from reporting.evidence import evidence_of
from reporting.result import EncodedResult, PreviousReport, Producer

KIND = DocumentKind(name="sr-findings", series_description="AI TRIAGE - UNVERIFIED - RESEARCH", series_number=9901)


def encode_structured_report(
    analysis: Analysis,
    headers: Sequence[Dataset],
    *,
    producer: Producer,
    previous: PreviousReport | None,
    companions: Sequence[EncodedResult] = (),
) -> EncodedResult:
    """Return the findings report of `analysis`. There always is one: a failure must not look like a negative.

    Raises:
        ValueError: an input has no header or belongs to another study, or a finding is not on an input.
    """
    evidence = evidence_of(analysis, headers)
    root = findings_content(analysis, evidence, producer)
    return encode_document(KIND, analysis, evidence, root, producer=producer, previous=previous)
