"""A FHIR R4 server for tests: takes transactions, has fhir.resources judge each resource, and keeps them by type and id."""

import json
from dataclasses import dataclass, field

from fhir.resources.R4B import get_fhir_model_class
from fhir.resources.R4B.bundle import Bundle
from pydantic import ValidationError

from tests.peers.scripted_http import Reply, Request

MEDIA_TYPE = "application/fhir+json"
REQUIRED_CODES = {
    ("DiagnosticReport", "status"): {"registered", "partial", "preliminary"},
    ("Observation", "status"): {"registered", "preliminary"},
    ("Task", "status"): {"draft", "requested", "received", "accepted", "rejected", "ready", "cancelled", "entered-in-error"},
}
"""fhir.resources does not enforce required bindings. Final statuses are left out: this software has none to give."""


def outcome(status: int, *codes: str, severity: str = "error") -> Reply:
    """Return an OperationOutcome. Its words quote what was sent, as those of real servers do."""
    issues = [{"severity": severity, "code": code, "diagnostics": "CANARY^PHI is not known"} for code in codes]
    body = json.dumps({"resourceType": "OperationOutcome", "issue": issues}).encode()
    return Reply(status=status, media_type=MEDIA_TYPE, body=body)


@dataclass
class FhirServer:
    """Answers as a server does that implements the transaction interaction."""

    resources: dict[str, dict[str, object]] = field(default_factory=dict)
    transactions: int = 0

    def answer(self, request: Request) -> Reply:
        if request.method == "GET" and request.path.endswith("/metadata"):
            capability = {"resourceType": "CapabilityStatement", "status": "active", "fhirVersion": "4.0.1"}
            return Reply(media_type=MEDIA_TYPE, body=json.dumps(capability).encode())
        if request.method != "POST" or request.headers["Content-Type"].partition(";")[0] != MEDIA_TYPE:
            return outcome(415, "not-supported")
        try:
            Bundle.model_validate_json(request.body)
            bundle = json.loads(request.body)
            for entry in bundle["entry"]:
                get_fhir_model_class(entry["resource"]["resourceType"]).model_validate(entry["resource"])
        except (ValidationError, ValueError, KeyError):
            return outcome(422, "invalid")
        if any(_breaks_a_binding(entry["resource"]) for entry in bundle["entry"]):
            return outcome(422, "code-invalid")
        self.transactions += 1
        entries = [{"response": {"status": self._put(entry)}} for entry in bundle["entry"]]
        body = json.dumps({"resourceType": "Bundle", "type": "transaction-response", "entry": entries}).encode()
        return Reply(media_type=MEDIA_TYPE, body=body)

    def _put(self, entry: dict[str, dict[str, object]]) -> str:
        url = str(entry["request"]["url"])
        assert entry["request"]["method"] == "PUT"
        known = url in self.resources
        self.resources[url] = entry["resource"]
        return "200 OK" if known else "201 Created"


def _breaks_a_binding(resource: dict[str, object]) -> bool:
    kind = resource["resourceType"]
    return any(resource.get(name) not in codes for (of, name), codes in REQUIRED_CODES.items() if of == kind)
