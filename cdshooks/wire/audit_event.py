"""An audit entry as FHIR R4 AuditEvent, for the hospital's archive. No name and no record number, only keyed hashes.

Codes and systems: those of the AuditEvent page of FHIR R4 (its value sets audit-event-type, security-source-type,
object-role) and `urn:cmv-cds:` for what is our own.
"""

from collections.abc import Mapping
from typing import Any

from fhir.resources.R4B.auditevent import AuditEvent

from cdshooks.wire.hooks import Json

OWN = "urn:cmv-cds"
_TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"


def audit_event(entry: Mapping[str, Any]) -> Json:
    """The AuditEvent of one entry, validated. R4B differs from R4 in nothing that stands in it.

    Raises:
        ValueError: the entry makes no valid AuditEvent, which is a defect of this function.
    """
    event: Json = {
        "resourceType": "AuditEvent",
        "id": f"cmv-cds-{entry['position']}",
        "type": {"system": f"{_TERMINOLOGY}/audit-event-type", "code": "rest", "display": "RESTful Operation"},
        "subtype": [{"system": f"{OWN}:audit-event", "code": entry["event"]}],
        "action": "E",
        "recorded": entry["at"].isoformat(timespec="milliseconds"),
        "outcome": "4" if entry["failures"] else "0",
        "agent": [_agent("client", entry["client"] or "open", requestor=not entry["user_hash"])],
        "source": {
            "observer": {"display": f"cdshooks {entry['service_version']}"},
            "type": [{"system": f"{_TERMINOLOGY}/security-source-type", "code": "4", "display": "Application Server"}],
        },
        "entity": [
            {
                "what": {"identifier": {"system": f"{OWN}:service", "value": entry["service"]}},
                "detail": _details(entry),
            }
        ],
    }
    if entry["failures"]:
        event["outcomeDesc"] = f"checks that could not be run: {', '.join(entry['failures'])}"
    if entry["user_hash"]:
        event["agent"].insert(0, _agent("user-hash", entry["user_hash"], requestor=True))
    if entry["patient_hash"]:
        event["entity"].insert(
            0,
            {
                "what": {"identifier": {"system": f"{OWN}:patient-hash", "value": entry["patient_hash"]}},
                "role": {"system": f"{_TERMINOLOGY}/object-role", "code": "1", "display": "Patient"},
            },
        )
    AuditEvent.model_validate(event)
    return event


def _agent(kind: str, value: str, *, requestor: bool) -> Json:
    return {"who": {"identifier": {"system": f"{OWN}:{kind}", "value": value}}, "requestor": requestor}


def _details(entry: Mapping[str, Any]) -> list[Json]:
    """What was found, as pairs of type and value."""
    pairs = [
        ("hookInstance", entry["hook_instance"]),
        ("knowledgeVersion", entry["knowledge_version"]),
        ("shown", "true" if entry["shown"] else "false"),
        *(("order", drug) for drug in entry["orders"]),
        *(("card", f"{card['uuid']} {card['topic']} {card['indicator']}") for card in entry["cards"]),
        *(("rule", rule) for rule in dict.fromkeys(rule for card in entry["cards"] for rule in card["rules"])),
        *(("feedback", key) for key in entry["feedback"]),
        ("digest", entry["digest"]),
    ]
    return [{"type": name, "valueString": value} for name, value in pairs if value]
