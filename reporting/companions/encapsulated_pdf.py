"""The page as an Encapsulated PDF (PS3.3 A.45.1), for archives that show documents better than images."""

from collections.abc import Sequence

from pydicom.dataset import Dataset
from pydicom.uid import EncapsulatedPDFStorage

from inference.findings import Analysis
from reporting import codes
from reporting.algorithm import algorithms_of
from reporting.companions.instance import Series, companion, finished, local_time, source_header
from reporting.companions.layout import sheets_of
from reporting.companions.page import page_of
from reporting.companions.picture import HeatPicture, Picture
from reporting.evidence import evidence_of, reference
from reporting.result import EncodedResult, PreviousReport, Producer

KIND = "encapsulated-pdf"
_SERIES = Series(kind=KIND, modality="DOC", number=9905, description="AI SUMMARY DOCUMENT - UNVERIFIED")
_TITLE = "AI result, unverified"


def encode_pdf(
    analysis: Analysis,
    headers: Sequence[Dataset],
    *,
    producer: Producer,
    previous: PreviousReport | None,
    companions: Sequence[EncodedResult] = (),
    pictures: Sequence[Picture] = (),
    heat_pictures: Sequence[HeatPicture] = (),
) -> EncodedResult:
    """Return the page as a PDF of A4 pages in a DICOM object.

    Raises:
        ValueError: as `evidence_of`.
    """
    from reporting.companions.printing import A4_HEIGHT, printed  # noqa: PLC0415 - most sites print nothing, and the library is slow to load

    evidence = evidence_of(analysis, headers)
    algorithms = algorithms_of(analysis, producer)
    header = source_header(evidence)
    page = page_of(analysis, header, producer, previous=previous, pictures=pictures, heat_pictures=heat_pictures)
    sheets = sheets_of(page, (A4_HEIGHT,))
    pdf = printed(sheets, title=_TITLE, creator=f"{producer.model_name} {producer.software_version}")
    document = companion(_SERIES, analysis, evidence, algorithms=algorithms, producer=producer, previous=previous)
    document.ConversionType = "WSD"
    document.ContentQualification = "RESEARCH"
    document.BurnedInAnnotation = "YES"
    document.DocumentTitle = _TITLE
    document.VerificationFlag = "UNVERIFIED"
    title = Dataset()
    title.CodeValue = codes.IMAGING_MEASUREMENT_REPORT.value
    title.CodingSchemeDesignator = codes.IMAGING_MEASUREMENT_REPORT.scheme
    title.CodeMeaning = codes.IMAGING_MEASUREMENT_REPORT.meaning
    document.ConceptNameCodeSequence = [title]
    if evidence.instances:
        document.SourceInstanceSequence = [reference(source.sop_class_uid, source.sop_instance_uid) for source in evidence.instances]
    document.MIMETypeOfEncapsulatedDocument = "application/pdf"
    document.EncapsulatedDocumentLength = len(pdf)
    document.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
    document.AcquisitionDateTime = ""
    at = local_time(analysis, header)
    return finished(document, _SERIES, EncapsulatedPDFStorage, analysis=analysis, algorithms=algorithms, at=at, previous=previous)
