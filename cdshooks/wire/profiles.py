"""What each kind of client is known to do with an answer, and cards fitted to that. Never the verdict.

A profile is a list of facts about a client (see docs/decisions/0007-clients.md for where each was read). A suggestion
that a client would reject, or would take without its dose, is not offered as a button; its words move into the detail,
so that the clinician still reads what to order.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final
from uuid import NAMESPACE_URL, uuid5

from cdshooks.wire.fhir import objects
from cdshooks.wire.hooks import Json
from cdshooks.wire.text import markdown, neutral

ORDERS: Final = ("MedicationRequest", "MedicationOrder")
REQUESTS: Final = ("ServiceRequest", "ProcedureRequest")


@dataclass(frozen=True, slots=True)
class Profile:
    """Facts about a client. The defaults are what the specification promises.

    `actions`: the (type, resource type) it carries out, None for any. `several_actions`: it takes a suggestion of more
    than one. `keeps_dose`: what it applies of an order includes the dose. `drug_text`: it applies an order only when
    its drug has a text and a coding. `app_context`: it passes `appContext` to a SMART app.
    """

    actions: frozenset[tuple[str, str]] | None = None
    several_actions: bool = True
    keeps_dose: bool = True
    drug_text: bool = False
    app_context: bool = True


PROFILES: Final[Mapping[str, Profile]] = {
    "strict": Profile(),
    "epic": Profile(
        actions=frozenset(
            [
                *((kind, resource) for kind in ("create", "delete") for resource in ("MedicationRequest", *REQUESTS)),
                ("create", "Condition"),
            ]
        ),
        several_actions=False,
        keeps_dose=False,
    ),
    "oracle": Profile(app_context=False),
    "sandbox": Profile(drug_text=True, keeps_dose=False),
}


def fitted(cards: list[Json], profile: str) -> list[Json]:
    """The cards as the client of that profile can show them. Those given are not changed."""
    facts = PROFILES[profile]
    return cards if facts == Profile() else [_fitted(card, facts) for card in cards]


def _fitted(card: Json, facts: Profile) -> Json:
    kept: list[Json] = []
    by_hand: list[str] = []
    for suggestion in card.get("suggestions", []):
        for one in _split(suggestion, facts):
            action = one["actions"][0]
            lost = not _carried_out(action, facts)
            if lost or _loses_dose(action, facts):
                by_hand.append(one["label"])
            if not lost:
                kept.append(_with_drug_text(one) if facts.drug_text else one)
    card = {**card, "suggestions": kept, "detail": _with_lines(card["detail"], by_hand)}
    if not kept:
        del card["suggestions"]
        card.pop("selectionBehavior", None)
    if "links" in card and not facts.app_context:
        card["links"] = [{k: v for k, v in link.items() if k != "appContext"} for link in card["links"]]
    return card


def _split(suggestion: Json, facts: Profile) -> Iterator[Json]:
    """The suggestion, or one for each of its actions where the client takes only one at a time."""
    actions = suggestion["actions"]
    if facts.several_actions or len(actions) == 1:
        yield suggestion
        return
    for place, action in enumerate(actions):
        seed = f"{suggestion['uuid']}|{place}"
        yield {
            **suggestion,
            "label": action["description"],
            "uuid": str(uuid5(NAMESPACE_URL, seed)),
            "actions": [action],
        }


def _target(action: Json) -> str:
    kind: str = action.get("resource", {}).get("resourceType") or str(action.get("resourceId", "")).split("/")[0]
    return kind


def _carried_out(action: Json, facts: Profile) -> bool:
    return facts.actions is None or (action["type"], _target(action)) in facts.actions


def _loses_dose(action: Json, facts: Profile) -> bool:
    return not facts.keeps_dose and action["type"] != "delete" and _target(action) in ORDERS


def _with_drug_text(suggestion: Json) -> Json:
    """The suggestion with a text for its drug, taken from what the order itself says."""
    action = suggestion["actions"][0]
    drug = action.get("resource", {}).get("medicationCodeableConcept")
    if not isinstance(drug, dict) or drug.get("text"):
        return suggestion
    text = next((coding["display"] for coding in objects(drug.get("coding")) if coding.get("display")), "")
    if not text:
        return suggestion
    resource = {**action["resource"], "medicationCodeableConcept": {**drug, "text": text}}
    return {**suggestion, "actions": [{**action, "resource": resource}, *suggestion["actions"][1:]]}


def _with_lines(detail: str, labels: list[str]) -> str:
    lines = [f"- To be entered by hand: {markdown(neutral(label))}" for label in dict.fromkeys(labels)]
    return "\n".join([*lines, detail])
