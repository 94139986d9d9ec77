"""Reports to a FHIR R4 server: each a transaction Bundle, posted to the base URL (FHIR R4, RESTful API, 3.1.0.11)."""

import json
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from config.destinations import FhirDestination
from dicom_node.delivery import Outgoing, Receipt
from dicom_node.delivery.http import Answer, WebService, refusal
from dicom_node.delivery.variants import read_content
from dicom_node.failures import DeliveryError, EmptyAnswerError, ResultUnsuitableError, StoreFailedError, StoreRefusedError

_MEDIA_TYPE = "application/fhir+json"
_PASSING = frozenset({"transient", "lock-error", "no-store", "exception", "timeout", "incomplete", "throttled"})
"""Issue types that say to try again later (FHIR R4, issue-type)."""
_LONGEST_STATUS = 64
_CODE, _STATUS, _VERSION = re.compile(r"[a-z-]{1,30}"), re.compile(r"[0-9]{3}"), re.compile(r"[0-9.]{1,10}")


class FhirChannel:
    """Posts a Bundle that makes nothing twice when it is sent twice, and believes it stored only if each entry says so."""

    def __init__(self, destination: FhirDestination, *, calling_ae_title: str, clock: Callable[[], datetime]) -> None:
        self._destination = destination
        self._clock = clock
        self._service = WebService(destination)

    def deliver(self, result: Outgoing) -> Receipt:
        """Return the server's receipt; its status is that of HTTP."""
        name, what = self._destination.name, result.sop_instance_uid
        content = read_content(result)
        entries = _require_harmless_again(content, what)
        headers = {"Content-Type": f"{_MEDIA_TYPE}; charset=utf-8", "Accept": _MEDIA_TYPE}
        answer = self._service.ask("POST", "", headers=headers, body=content)
        if answer.status != 200:  # noqa: PLR2004 - the one success of a transaction
            raise _refused(answer, name, what)
        statuses = _entry_statuses(answer)
        if len(statuses) != entries:
            raise EmptyAnswerError(
                f"{name} answered 200 for {what} but not with an answer for each entry; it will be sent again", status="200"
            )
        if failed := [status for status in statuses if not status.startswith("2")]:
            raise StoreRefusedError(f"{name} answered 200 for {what} but {failed[0]} for a part of it; its log says why", status=failed[0])
        return Receipt(destination=name, status="200", accepted=True, warning=False, at=self._clock())

    def probe(self) -> str:
        """Return the answer to the question for the server's CapabilityStatement; it raises as `DeliveryChannel` says."""
        answer = self._service.ask("GET", "/metadata", headers={"Accept": _MEDIA_TYPE})
        name = self._destination.name
        if answer.status != 200:  # noqa: PLR2004 - the one success of a read
            raise refusal(answer, name, "GET metadata")
        found = _json(answer)
        if found.get("resourceType") != "CapabilityStatement":
            raise StoreFailedError(f"{name} answers, but not as a FHIR server; correct url", status="200")
        return f"CapabilityStatement, FHIR {_word(found.get('fhirVersion'), _VERSION)}"


def _require_harmless_again(content: bytes, what: str) -> int:
    """Return the number of entries of a transaction that changes nothing when it is sent again.

    Raises:
        ResultUnsuitableError: it is none.
    """
    try:
        bundle = json.loads(content)
        requests = [entry["request"] for entry in bundle["entry"]]
        harmless = all(request["method"] in {"PUT", "DELETE"} or request.get("ifNoneExist") for request in requests)
        suitable = bundle["resourceType"] == "Bundle" and bundle["type"] == "transaction" and harmless and bool(requests)
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise ResultUnsuitableError(f"the file of result {what} is no FHIR Bundle; requeue the study") from exc
    if not suitable:
        raise ResultUnsuitableError(f"the Bundle {what} is no transaction that may be sent twice; requeue the study")
    return len(requests)


def _refused(answer: Answer, name: str, what: str) -> DeliveryError:
    codes = tuple(_issue_codes(answer))
    status = " ".join((str(answer.status), *dict.fromkeys(codes)))[:_LONGEST_STATUS]
    if _PASSING & set(codes):
        return StoreFailedError(f"{name} answered {status} for {what}: it says that this may pass", status=status)
    return refusal(answer, name, what, status=status)


def _issue_codes(answer: Answer) -> Iterator[str]:
    """Yield the codes of an OperationOutcome's issues. Its words are left out: they may quote what was sent."""
    found = _json(answer)
    if found.get("resourceType") != "OperationOutcome":
        return
    issues = found.get("issue")
    for issue in issues if isinstance(issues, list) else ():
        if isinstance(issue, dict) and issue.get("severity") in {"fatal", "error"}:
            yield _word(issue.get("code"), _CODE)


def _entry_statuses(answer: Answer) -> tuple[str, ...]:
    entries = _json(answer).get("entry")
    if not isinstance(entries, list):
        return ()
    responses = [entry.get("response") for entry in entries if isinstance(entry, dict)]
    return tuple(_word(response.get("status"), _STATUS) for response in responses if isinstance(response, dict))


def _json(answer: Answer) -> dict[str, Any]:
    try:
        found = json.loads(answer.body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _word(value: object, form: re.Pattern[str]) -> str:
    """The first word of a value if it has that form, "?" otherwise: a sentence may quote what was sent."""
    first = value.split()[0] if isinstance(value, str) and value.split() else ""
    return first if form.fullmatch(first) else "?"
