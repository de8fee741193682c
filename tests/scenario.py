"""Clinical scenarios: reading them, rendering one case as a hook request in each FHIR release, judging the cards.

The format is explained in docs/scenarios.md. Nothing here knows how the product works: requests are built from
plain JSON, and cards are judged by the contract alone. Every key of a scenario is used or refused, so that a misspelt
word cannot make a case weaker.
"""

import json
import re
from base64 import b64encode
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from datetime import date, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from cdshooks.medicine.yaml_file import read_yaml

Json = dict[str, Any]

FOLDER = Path(__file__).parent / "scenarios"
RELEASES = ("DSTU2", "STU3", "R4", "R4B", "R5")
PATIENT, STRANGER = "pat-1", "pat-77"
NAME, FAMILY = "Testperson", "Quillfeather"  # never to be seen in an answer

_RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
_LOINC = "http://loinc.org"
_SNOMED = "http://snomed.info/sct"
_ICD10 = "http://hl7.org/fhir/sid/icd-10-cm"
_UCUM = "http://unitsofmeasure.org"
_TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"

PRODUCTS = {  # how a scenario names a product -> RxNorm code and name; other names are sent as text alone
    "valganciclovir": ("275891", "valganciclovir"),
    "valganciclovir 450 mg tablet": ("313566", "valganciclovir 450 MG Oral Tablet"),
    "valganciclovir oral solution": ("863558", "valganciclovir Oral Solution"),
    "Valcyte": ("304959", "Valcyte"),
    "Valcyte 450 mg tablet": ("284587", "valganciclovir 450 MG Oral Tablet [Valcyte]"),
    "ganciclovir": ("4678", "Ganciclovir"),
    "ganciclovir injection": ("1732140", "ganciclovir Injection"),
    "ganciclovir 500 mg capsule": ("200206", "ganciclovir 500 MG Oral Capsule"),
    "Cytovene": ("203743", "Cytovene"),
    "Vitrasert": ("220910", "Vitrasert"),
    "ganciclovir eye gel": ("388052", "Ganciclovir 0.0015 MG/MG Ophthalmic Gel"),
    "maribavir 200 mg tablet": ("2586079", "maribavir 200 MG Oral Tablet [Livtencity]"),
    "letermovir 240 mg tablet": ("1988671", "letermovir 240 MG Oral Tablet [Prevymis]"),
    "letermovir 480 mg tablet": ("1988675", "letermovir 480 MG Oral Tablet [Prevymis]"),
    "letermovir 20 mg pellets": ("2693189", "letermovir 20 MG Oral Pellet [Prevymis]"),
    "letermovir injection": ("1988661", "24 ML letermovir 20 MG/ML Injection [Prevymis]"),
    "cidofovir injection": ("211248", "5 ML cidofovir 75 MG/ML Injection [Vistide]"),
    "cyclosporine 100 mg capsule": ("328160", "cycloSPORINE 100 MG Oral Capsule"),
    "cyclosporine eye suspension": ("351291", "cyclosporine 0.5 MG/ML Ophthalmic Suspension"),
    "carbamazepine 200 mg tablet": ("308979", "Carbamazepine 200 MG Oral Tablet"),
    "phenytoin 100 mg capsule": ("855671", "phenytoin sodium 100 MG Extended Release Oral Capsule"),
    "rifampin 300 mg capsule": ("198202", "rifampin 300 MG Oral Capsule"),
    "efavirenz": ("195085", "efavirenz"),
}
LABS = {  # name -> LOINC code by unit ("" for any other unit), prefetch group
    "serum creatinine": ({"": "2160-0", "umol/L": "14682-9", "µmol/L": "14682-9"}, "kidney"),
    "urine creatinine": ({"": "2161-8"}, "kidney"),
    "weight": ({"": "29463-7"}, "kidney"),
    "height": ({"": "8302-2"}, "kidney"),
    "albumin": ({"": "1751-7"}, "kidney"),
    "urine protein": ({"": "20454-5", "mg/dL": "2888-6"}, "kidney"),
    "urine protein/creatinine": ({"": "2890-2"}, "kidney"),
    "creatinine clearance in 24 h urine": ({"": "2164-2"}, "kidney"),
    "neutrophil count": ({"": "751-8"}, "counts"),
    "white cell count": ({"": "6690-2"}, "counts"),
    "platelet count": ({"": "777-3"}, "counts"),
    "haemoglobin": ({"": "718-7"}, "counts"),
    "CD4 count": ({"": "24467-3"}, "counts"),
    "total calcium": ({"": "17861-6"}, "electrolytes"),
    "ionised calcium": ({"": "1994-3"}, "electrolytes"),
    "magnesium": ({"": "19123-9"}, "electrolytes"),
    "potassium": ({"": "2823-3"}, "electrolytes"),
    "phosphate": ({"": "2777-1"}, "electrolytes"),
    "bicarbonate": ({"": "1963-8"}, "electrolytes"),
    "ALT": ({"": "1742-6"}, "electrolytes"),
    "AST": ({"": "1920-8"}, "electrolytes"),
    "bilirubin": ({"": "1975-2"}, "electrolytes"),
    "QTc": ({"": "8636-3"}, "electrolytes"),
    "CMV DNA in plasma": ({"": "72493-0", "{copies}/mL": "30247-1"}, "virology"),
    "CMV DNA in whole blood": ({"": "100675-8"}, "virology"),
    "HIV RNA": ({"": "20447-9"}, "virology"),
    "CMV UL97 mutations": ({"": "72833-7"}, "virology"),
    "CMV IgG": ({"": "7852-7"}, "virology"),
    "CMV IgG of the donor": ({"": ""}, "virology"),  # known by its name alone
    "tacrolimus level": ({"": "11253-2"}, "levels"),
    "ciclosporin level": ({"": "3520-4"}, "levels"),
    "sirolimus level": ({"": "29247-4"}, "levels"),
    "everolimus level": ({"": "50544-6"}, "levels"),
    "INR": ({"": "6301-6"}, "levels"),
    "pregnancy test": ({"": "2118-8"}, "pregnancy"),
    "pregnancy status": ({"": "82810-3"}, "pregnancy"),
    "breastfeeding status": ({"": "63895-7"}, "pregnancy"),
    "chorionic gonadotropin": ({"": "21198-7"}, "pregnancy"),
}
ROUTES = {
    "oral": ("26643006", "Oral route"),
    "iv": ("47625008", "Intravenous route"),
    "intravitreal": ("418401004", "Intravitreal route"),
    "ophthalmic": ("54485002", "Ophthalmic route"),
    "subcutaneous": ("34206005", "Subcutaneous route"),
    "intramuscular": ("78421000", "Intramuscular route"),
}
GROUPS = ("kidney", "counts", "electrolytes", "virology", "levels", "pregnancy")
_OUTCOME: Json = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "timeout"}]}
_NO_MATCH: Json = {"resourceType": "OperationOutcome", "issue": [{"severity": "warning", "code": "not-found"}]}
STATES: dict[str, Any] = {  # what a prefetch key holds where there is no data; "not sent" is no key at all
    "none on file": {"resourceType": "Bundle", "type": "searchset", "total": 0},
    "none on file (null)": None,
    "none on file (outcome entry)": {
        "resourceType": "Bundle",
        "type": "searchset",
        "total": 0,
        "entry": [{"resource": _NO_MATCH, "search": {"mode": "outcome"}}],
    },
    "fetch failed": _OUTCOME,
}
HOOKS = ("medication-prescribe", "order-select", "order-sign", "patient-view", "medication-verify")


@dataclass(frozen=True, slots=True)
class Scenario:
    """One case. `then` is the whole list of cards; `hand` the calculation by hand that it rests on."""

    name: str
    file: str
    today: date
    given: Mapping[str, Any]
    when: Mapping[str, Any]
    then: tuple[Mapping[str, Any], ...]
    hand: str
    claims: tuple[str, ...]

    @property
    def hook(self) -> str:
        """The hook called."""
        return str(self.when.get("hook", "order-sign"))

    @property
    def service(self) -> str:
        """The id of the service called."""
        return f"cmv-{self.hook}"

    @property
    def orders(self) -> tuple[Mapping[str, Any], ...]:
        """The orders of the call (for patient-view: none, the medication list is judged)."""
        if "orders" in self.when:
            return tuple(self.when["orders"])
        return (self.when,) if "order" in self.when else ()

    @property
    def worst(self) -> str:
        """The worst card expected, or "silent"."""
        ranks = ("info", "warning", "critical")
        return max((card["indicator"] for card in self.then), key=ranks.index, default="silent")

    @property
    def releases(self) -> tuple[str, ...]:
        """The releases that can say this order at all."""
        orders = (*self.orders, *_listed(self.given.get("medications")))
        if any("doses" in order or "reported" in order for order in orders):  # exist from R4 on
            return RELEASES[2:]
        if any(order.keys() & {"clock", "weekdays", "intent"} for order in orders):
            return RELEASES[1:]
        return RELEASES


def load_scenarios(folder: Path = FOLDER) -> tuple[Scenario, ...]:
    """Every scenario of every file of a folder, in the order of the files."""
    return tuple(_scenario(entry, path) for path in sorted(folder.glob("*.yaml")) for entry in read_yaml(path))


def _scenario(entry: Mapping[str, Any], path: Path) -> Scenario:
    _only(entry, "scenario hand given when then claims", path.name)
    place = f"{path.name}: {entry['scenario']}"
    known = (
        "today patient labs statuses genotypes reports conditions procedures allergies medications labs_under also_sent"
    )
    _only(entry["given"], f"{known} background", place)
    for card in entry["then"]:
        _only(card, "topic indicator says never suggests writes creates removes order phase", place)
    return Scenario(
        name=str(entry["scenario"]),
        file=path.stem,
        today=entry["given"]["today"],
        given=_with_background(entry["given"], entry["when"]),
        when=entry["when"],
        then=tuple(entry["then"]),
        hand=str(entry["hand"]),
        claims=tuple(entry.get("claims", ())),
    )


_BACKGROUND = read_yaml(Path(__file__).parent / "background.yaml")


def _with_background(given: Mapping[str, Any], when: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a scenario says, and what tests/background.yaml says of everything that it leaves out."""
    if given.get("background") == "none":
        return given
    today, patient = given["today"], given["patient"]
    labs, found = given.get("labs", []), dict(given)
    if isinstance(labs, list):
        named = {lab["name"] for lab in labs}
        sex = patient.get("sex") if isinstance(patient, Mapping) else None
        found["labs"] = [*labs, *(_dated(lab, today) for lab in _suiting(_BACKGROUND["labs"], sex, named))]
    drugs = {str(order.get("order")).split()[0] for order in when.get("orders", (when,))}
    described = given.get("conditions") or given.get("procedures")
    for key in ("conditions", "procedures", "medications"):
        listed = given.get(key, [])
        if key == "conditions" and described:
            continue  # who the patient is, the scenario says itself
        if isinstance(listed, list):
            extra = [e for e in _BACKGROUND[key] if drugs & set(e.get("with", drugs))]
            if entries := [*listed, *(_dated(entry, today) for entry in extra)]:
                found[key] = entries
    return found


def looked_after(order: str, sex: str, today: date) -> Json:
    """The prefetch of a patient of whom nothing is known but that tests and companions of the order are in time."""
    when = {"order": order}
    given = _with_background({"today": today, "patient": {"sex": sex}}, when)
    return _prefetch(Scenario("looked after", "", today, given, when, (), "", ()), "R4")


def _suiting(labs: list[Mapping[str, Any]], sex: str | None, named: set[str]) -> Iterator[Mapping[str, Any]]:
    return (lab for lab in labs if lab["name"] not in named and lab.get("sex", sex) == sex)


def _dated(entry: Mapping[str, Any], today: date) -> Json:
    """An entry of the background as it stands in a scenario, with its date."""
    found = {key: value for key, value in entry.items() if key not in ("days_ago", "sex", "with")}
    if "days_ago" in entry:
        found["date"] = today - timedelta(days=entry["days_ago"])
    return found


def _only(entry: Mapping[str, Any], known: str, place: str) -> None:
    if unknown := entry.keys() - set(known.split()):
        raise ValueError(f"{place}: unknown key {', '.join(sorted(unknown))}")


def _listed(value: Any) -> list[Mapping[str, Any]]:
    return value if isinstance(value, list) else []


# --------------------------------------------------------------------------------------------------------------------
# Rendering


def render(scenario: Scenario, release: str = "R4") -> Json:
    """The hook request of a scenario, as a client of that FHIR release would send it."""
    prefetch = _prefetch(scenario, release)
    return {
        "hook": scenario.hook,
        "hookInstance": str(uuid5(NAMESPACE_URL, f"{scenario.file}/{scenario.name}")),
        "context": _context(scenario, release, prefetch),
        "prefetch": prefetch,
    }


def bundle(resources: list[Json], kind: str = "searchset") -> Json:
    """A Bundle as servers send it."""
    total = {"total": len(resources)} if kind == "searchset" else {}
    entries = [{"fullUrl": f"https://fhir.example.org/{r['resourceType']}/{r['id']}", "resource": r} for r in resources]
    return {"resourceType": "Bundle", "type": kind, **total, "entry": entries}


def order_id(position: int, hook: str = "") -> str:
    """The id of the order at a position of a hook's orders, else of the medication list; counted from 1."""
    kind = {"": "med", "patient-view": "med", "medication-verify": "signed"}.get(hook, "draft")
    return f"{kind}-{position}"


def _context(scenario: Scenario, release: str, prefetch: Json) -> Json:
    when = scenario.when
    context: Json = {"patientId": PATIENT, "userId": "Practitioner/prac-1"}
    if "orders" in when:
        _only(when, "hook orders", scenario.name)
    active = scenario.hook == "medication-verify"
    rendered, beside = [], []
    for position, order in enumerate(scenario.orders, 1):
        resource, medication = _order(order, order_id(position, scenario.hook), release, active=active)
        rendered.append(resource)
        if medication:
            where = prefetch["medications"] if order.get("as") == "prefetch" else None
            if isinstance(where, dict):
                where.setdefault("entry", []).append({"resource": medication})
            else:
                beside.append(medication)
    if scenario.hook == "medication-verify":
        context["order"] = {"resource": rendered[0]}
        return context
    if not rendered and scenario.hook == "patient-view":
        return context
    orders = bundle([*rendered, *beside], "collection")
    context["medications" if scenario.hook == "medication-prescribe" else "draftOrders"] = orders
    if scenario.hook == "order-select":
        chosen = [r for r, order in zip(rendered, scenario.orders, strict=True) if not order.get("unselected")]
        context["selections"] = [f"{r['resourceType']}/{r['id']}" for r in chosen]
    return context


def _prefetch(scenario: Scenario, release: str) -> Json:
    given = scenario.given
    found: Json = {}
    patient = given["patient"]
    if isinstance(patient, str):
        _put(found, "patient", patient)
    else:
        found["patient"] = _patient(patient, scenario.today)
    _labs_into(found, scenario, release)
    for key, make in (("conditions", _condition), ("procedures", _procedure)):
        value = given.get(key, "none on file")
        if isinstance(value, str):
            _put(found, key, value)
        else:
            found[key] = bundle([make(entry, f"{key[:4]}-{i}", release) for i, entry in enumerate(value, 1)])
    medications = given.get("medications", "none on file")
    if isinstance(medications, str):
        _put(found, "medications", medications)
    else:
        rows = [_order(o, order_id(i), release, active=True)[0] for i, o in enumerate(medications, 1)]
        found["medications"] = bundle(rows)
    allergies = given.get("allergies", "none on file")
    if isinstance(allergies, str):
        _put(found, "allergies", allergies)
    else:
        found["allergies"] = bundle([_allergy(entry, f"all-{i}", release) for i, entry in enumerate(allergies, 1)])
    reports = given.get("reports", "none on file")
    if isinstance(reports, str):
        _put(found, "reports", reports)
    else:
        found["reports"] = bundle([_report(entry, f"report-{i}") for i, entry in enumerate(reports, 1)])
    return found | dict(given.get("also_sent", {}))


def _put(found: Json, key: str, state: str) -> None:
    if state != "not sent":
        found[key] = deepcopy(STATES[state])


def _patient(patient: Mapping[str, Any], today: date) -> Json:
    _only(patient, "age born sex weight height weighed id", "patient")
    found: Json = {"resourceType": "Patient", "id": patient.get("id", PATIENT)}
    found["name"] = [{"family": FAMILY, "given": [NAME]}]
    if "age" in patient:  # in their year since mid-January
        found["birthDate"] = date(today.year - patient["age"], 1, 15).isoformat()
    elif "born" in patient:
        found["birthDate"] = str(patient["born"])
    if "sex" in patient:
        found["gender"] = patient["sex"]
    return found


def _labs_into(found: Json, scenario: Scenario, release: str) -> None:
    """The observations, each under the key of its group (or all under one key of the client's own)."""
    labs, patient = scenario.given.get("labs", []), scenario.given["patient"]
    measured = []
    for name in ("weight", "height") if isinstance(patient, Mapping) else ():
        if name in patient:
            weighed = patient.get("weighed", scenario.today - timedelta(days=2))
            measured.append({"name": name, "result": patient[name], "date": weighed})
    groups: dict[str, list[Json]] = {group: [] for group in GROUPS}
    for i, lab in enumerate((*measured, *_listed(labs)), 1):
        groups[LABS[lab["name"]][1]].append(_observation(lab, f"obs-{i}", release))
    for i, genotype in enumerate(scenario.given.get("genotypes", ()), 1):
        groups["virology"].append(_genotype(genotype, f"geno-{i}", release))
    for i, status in enumerate(scenario.given.get("statuses", ()), 1):
        groups["kidney"].append(_status(status, f"status-{i}"))
    if isinstance(labs, str):
        for group in GROUPS:
            _put(found, group, labs)
        if measured and labs == "not sent":
            raise ValueError("a weight cannot be sent when no result is: leave it out")
        if measured:
            found["kidney"] = bundle(groups["kidney"])
    elif key := scenario.given.get("labs_under"):
        found[key] = bundle([observation for group in groups.values() for observation in group])
    else:
        for group, observations in groups.items():
            found[group] = bundle(observations) if observations else deepcopy(STATES["none on file"])


def _observation(lab: Mapping[str, Any], identifier: str, release: str) -> Json:
    keys = "name result words date at status of code issued unit_text specimen laboratory named"
    _only(lab, keys, f"result {lab['name']}")
    category = {"coding": [{"system": f"{_TERMINOLOGY}/observation-category", "code": "laboratory"}]}
    found: Json = {
        "resourceType": "Observation",
        "id": identifier,
        "status": lab.get("status", "final"),
        "category": category if release == "DSTU2" else [category],
        "subject": {"reference": f"Patient/{_subject(lab)}"},
    }
    unit = ""
    if "result" in lab:
        found["valueQuantity"] = _quantity(str(lab["result"]))
        unit = found["valueQuantity"].get("unit", "")
    if "unit_text" in lab:  # printed, not coded
        found["valueQuantity"] = {"value": found["valueQuantity"]["value"], "unit": lab["unit_text"]}
    if "words" in lab:
        found["valueString"] = lab["words"]
    codes = LABS[lab["name"]][0]
    code = lab.get("code", codes.get(unit, codes[""]))
    coding = {"coding": [{"system": _LOINC, "code": code, "display": lab["name"]}]} if code else {}
    found["code"] = coding | {"text": lab.get("named", lab["name"])}
    if "date" in lab or "at" in lab:
        found["effectiveDateTime"] = str(lab.get("at", lab.get("date")))
    if "specimen" in lab:
        found["specimen"] = {"display": lab["specimen"]}
    if "laboratory" in lab:
        found["performer"] = [{"display": lab["laboratory"]}]
    if "issued" in lab:
        found["issued"] = str(lab["issued"])
    return found


def _status(entry: Mapping[str, Any], identifier: str) -> Json:
    """Something asked of the patient and answered in words, or by true or false, as an Observation."""
    _only(entry, "name snomed answer date status of", f"status {entry['name']}")
    found: Json = {"resourceType": "Observation", "id": identifier, "status": entry.get("status", "final")}
    found |= {"code": _concept(entry), "subject": {"reference": f"Patient/{_subject(entry)}"}}
    answer = entry["answer"]
    found |= {"valueBoolean": answer} if isinstance(answer, bool) else {"valueCodeableConcept": {"text": answer}}
    if "date" in entry:
        found["effectiveDateTime"] = str(entry["date"])
    return found


def _genotype(entry: Mapping[str, Any], identifier: str, release: str) -> Json:
    """A resistance result: one Observation, with components where it is a panel or a variant."""
    _only(entry, f"{_RESULT_KEYS} date status of components note no_result_because", f"genotype {entry.get('name')}")
    found: Json = {
        "resourceType": "Observation",
        "id": identifier,
        "status": entry.get("status", "final"),
        "subject": {"reference": f"Patient/{_subject(entry)}"},
    }
    found |= _resistance_result(entry, release)
    if "date" in entry:
        found["effectiveDateTime"] = str(entry["date"])
    if "components" in entry:
        found["component"] = [_resistance_result(part, release) for part in entry["components"]]
    if "note" in entry:
        notes = {"DSTU2": {"comments": entry["note"]}, "STU3": {"comment": entry["note"]}}
        found |= notes.get(release, {"note": [{"text": entry["note"]}]})
    if "no_result_because" in entry:
        found["dataAbsentReason"] = {"text": entry["no_result_because"]}
    return found


_RESULT_KEYS = "name loinc result words answer interpretation number"


def _resistance_result(entry: Mapping[str, Any], release: str) -> Json:
    """Code and value: `result` is a string, `words` a concept with text, `answer` a LOINC answer code."""
    if unknown := entry.keys() - set(f"{_RESULT_KEYS} date status of components note no_result_because".split()):
        raise ValueError(f"genotype: unknown key {', '.join(sorted(unknown))}")
    code: Json = {"text": entry["name"]} if "name" in entry else {}
    if "loinc" in entry:
        code["coding"] = [{"system": _LOINC, "code": str(entry["loinc"])}]
    found: Json = {"code": code}
    if "result" in entry:
        found["valueString"] = entry["result"]
    if "number" in entry:
        found["valueQuantity"] = _quantity(str(entry["number"]))
    if "words" in entry or "answer" in entry:
        found["valueCodeableConcept"] = {"text": entry["words"]} if "words" in entry else {}
        if "answer" in entry:
            found["valueCodeableConcept"]["coding"] = [{"system": _LOINC, "code": entry["answer"]}]
    if "interpretation" in entry:
        system = f"{_TERMINOLOGY}/v3-ObservationInterpretation"
        interpretation = {"coding": [{"system": system, "code": entry["interpretation"]}]}
        found["interpretation"] = interpretation if release in ("DSTU2", "STU3") else [interpretation]
    return found


def _report(entry: Mapping[str, Any], identifier: str) -> Json:
    _only(entry, "name loinc date status of conclusion attachment attachment_type results", f"report {entry['name']}")
    found: Json = {
        "resourceType": "DiagnosticReport",
        "id": identifier,
        "status": entry.get("status", "final"),
        "code": {"text": entry["name"]},
        "subject": {"reference": f"Patient/{_subject(entry)}"},
    }
    if "loinc" in entry:
        found["code"]["coding"] = [{"system": _LOINC, "code": str(entry["loinc"])}]
    if "date" in entry:
        found["effectiveDateTime"] = str(entry["date"])
    if "conclusion" in entry:
        found["conclusion"] = entry["conclusion"]
    if "attachment" in entry:
        data = b64encode(str(entry["attachment"]).encode()).decode()
        found["presentedForm"] = [{"contentType": entry.get("attachment_type", "text/plain"), "data": data}]
    if "results" in entry:
        found["result"] = [{"reference": reference} for reference in entry["results"]]
    return found


def _subject(entry: Mapping[str, Any]) -> str:
    whose = entry.get("of", "this patient")
    return {"this patient": PATIENT, "other patient": STRANGER}[whose]


def _concept(entry: Mapping[str, Any]) -> Json:
    found: Json = {}
    codings = [
        {"system": system, "code": str(entry[key])} | ({"display": entry["name"]} if "name" in entry else {})
        for key, system in (("icd10", _ICD10), ("snomed", _SNOMED), ("rxnorm", _RXNORM))
        if key in entry
    ]
    if codings:
        found["coding"] = codings
    return found | ({"text": entry["name"]} if "name" in entry else {})  # a code may come without words


def _state(code: str, system: str, release: str) -> Any:
    return code if release in ("DSTU2", "STU3") else {"coding": [{"system": f"{_TERMINOLOGY}/{system}", "code": code}]}


def _condition(entry: Mapping[str, Any], identifier: str, release: str) -> Json:
    _only(entry, "name icd10 snomed since state verified of", "condition")
    found: Json = {"resourceType": "Condition", "id": identifier, "code": _concept(entry)}
    found["patient" if release == "DSTU2" else "subject"] = {"reference": f"Patient/{_subject(entry)}"}
    found["clinicalStatus"] = _state(entry.get("state", "active"), "condition-clinical", release)
    found["verificationStatus"] = _state(entry.get("verified", "confirmed"), "condition-ver-status", release)
    if "since" in entry:
        found["onsetDateTime"] = str(entry["since"])
    return found


def _procedure(entry: Mapping[str, Any], identifier: str, release: str) -> Json:
    _only(entry, "name icd10 snomed date status of", "procedure")
    found: Json = {"resourceType": "Procedure", "id": identifier, "status": entry.get("status", "completed")}
    found |= {"code": _concept(entry), "subject": {"reference": f"Patient/{_subject(entry)}"}}
    if "date" in entry:
        found["occurrenceDateTime" if release == "R5" else "performedDateTime"] = str(entry["date"])
    return found


def _allergy(entry: Mapping[str, Any], identifier: str, release: str) -> Json:
    _only(entry, "name icd10 snomed rxnorm state verified of kind criticality reaction_to severity", "allergy")
    early = release in ("DSTU2", "STU3")
    found: Json = {"resourceType": "AllergyIntolerance", "id": identifier}
    found["substance" if release == "DSTU2" else "code"] = _concept(entry)
    found["patient"] = {"reference": f"Patient/{_subject(entry)}"}
    state, verified = entry.get("state", "active"), entry.get("verified", "confirmed")
    if "criticality" in entry:
        levels = {"low": "CRITL", "high": "CRITH"} if release == "DSTU2" else {}
        found["criticality"] = levels.get(entry["criticality"], entry["criticality"])
    if "kind" in entry:
        found["type"] = {"coding": [{"code": entry["kind"]}]} if release == "R5" else entry["kind"]
    if {"reaction_to", "severity"} & entry.keys():
        reaction: Json = {"severity": entry["severity"]} if "severity" in entry else {}
        found["reaction"] = [
            reaction | ({"substance": {"text": entry["reaction_to"]}} if "reaction_to" in entry else {})
        ]
    if release == "DSTU2":
        found["status"] = verified if state == "active" else state
        return found
    found["clinicalStatus"] = state if early else _state(state, "allergyintolerance-clinical", release)
    found["verificationStatus"] = verified if early else _state(verified, "allergyintolerance-verification", release)
    return found


def _order(entry: Mapping[str, Any], identifier: str, release: str, *, active: bool) -> tuple[Json, Json | None]:
    """(the order, the Medication resource that goes beside it)."""
    known = "hook order coding as form ingredients unnamed dose doses every times each code clock weekdays sig route"
    _only(
        entry,
        f"{known} reason note status of as_needed count from to rate lasts most unselected replaces instruction intent"
        " reported steps",
        f"order {entry.get('order')}",
    )
    kind = "MedicationOrder" if release == "DSTU2" else "MedicationRequest"
    found: Json = {
        "resourceType": kind,
        "id": identifier,
        "status": entry.get("status", "active" if active else "draft"),
    }
    if release != "DSTU2":
        found["intent"] = entry.get("intent", "order")
    if "reported" in entry:
        found["reported" if release == "R5" else "reportedBoolean"] = entry["reported"]
    found["patient" if release == "DSTU2" else "subject"] = {"reference": f"Patient/{_subject(entry)}"}
    found["dateWritten" if release == "DSTU2" else "authoredOn"] = str(entry.get("from", "2026-11-20"))
    medication = _drug_into(found, entry, release)
    if "reason" in entry:
        reason = entry["reason"] if isinstance(entry["reason"], Mapping) else {"name": entry["reason"]}
        if release == "DSTU2":
            found["reasonCodeableConcept"] = _concept(reason)
        elif release == "R5":
            found["reason"] = [{"concept": _concept(reason)}]
        else:
            found["reasonCode"] = [_concept(reason)]
    if "replaces" in entry:
        found["priorPrescription"] = {"reference": f"{kind}/{order_id(entry['replaces'])}"}
    if "note" in entry:
        found["note"] = entry["note"] if release == "DSTU2" else [{"text": entry["note"]}]
    if dosage := _dosage(entry, release):
        found["dosageInstruction"] = [dosage]
    for step in entry.get("steps", ()):  # instructions that stand beside each other, as a rule without a number
        _only(step, "dose every times each code sig route for count sequence", f"step of {entry.get('order')}")
        rendered = _dosage(step, release)
        if "for" in step:
            length, unit = str(step["for"]).split()
            bounds = {"value": int(length), "unit": unit, "system": _UCUM, "code": unit}
            rendered["timing"]["repeat"]["boundsQuantity" if release == "DSTU2" else "boundsDuration"] = bounds
        if "sequence" in step:
            rendered["sequence"] = step["sequence"]
        found.setdefault("dosageInstruction", []).append(rendered)
    return found, medication


def _drug_into(found: Json, entry: Mapping[str, Any], release: str) -> Json | None:
    name = entry["order"]
    concept: Json = {"text": name}
    if "coding" in entry:
        concept["coding"] = [dict(entry["coding"])]
    elif name in PRODUCTS:
        code, display = PRODUCTS[name]
        concept = {"coding": [{"system": _RXNORM, "code": code, "display": display}], "text": display}
    way = entry.get("as", "concept")
    if way == "concept":
        found.update(
            {"medication": {"concept": concept}} if release == "R5" else {"medicationCodeableConcept": concept}
        )
        return None
    if way == "display":
        reference: Json = {"reference": "Medication/unknown", "display": concept["text"]}
        medication = None
    else:
        medication = {"resourceType": "Medication", "id": "drug-1"} | ({} if "unnamed" in entry else {"code": concept})
        if "ingredients" in entry:
            _ingredients_into(found, medication, entry["ingredients"], release)
        if "form" in entry and release != "DSTU2":
            medication["doseForm" if release == "R5" else "form"] = {"text": entry["form"]}
        reference = {"reference": "#drug-1" if way == "contained" else "Medication/drug-1"}
    if way == "contained":
        found.setdefault("contained", []).append(medication)
        medication = None
    if release == "R5":
        found["medication"] = {"reference": reference}
    else:
        found["medicationReference"] = reference
    return medication


def _ingredients_into(order: Json, medication: Json, entries: list[Mapping[str, Any]], release: str) -> None:
    """What a Medication is made of; DSTU2 knows substances alone, which are contained in the order."""
    made = []
    for position, entry in enumerate(entries, 1):
        _only(entry, "name rxnorm in each", "an ingredient")
        concept = _concept({key: value for key, value in entry.items() if key in ("name", "rxnorm")})
        ingredient: Json = {"itemCodeableConcept": concept}
        if release == "R5":
            ingredient = {"item": {"concept": concept}}
        elif release == "DSTU2":
            substance = {"resourceType": "Substance", "id": f"substance-{position}", "code": concept}
            order.setdefault("contained", []).append(substance)
            ingredient = {"item": {"reference": f"#substance-{position}"}}
        if "in" in entry:  # "3000 mg" in each "250 mL"
            ratio = {"numerator": _quantity(entry["in"]), "denominator": _quantity(str(entry.get("each", "1")))}
            ingredient[{"R5": "strengthRatio", "STU3": "amount", "DSTU2": "amount"}.get(release, "strength")] = ratio
        made.append(ingredient)
    if release == "DSTU2":
        medication["product"] = {"ingredient": made}
    else:
        medication["ingredient"] = made


def _dosage(entry: Mapping[str, Any], release: str) -> Json:
    found: Json = {"text": entry["sig"]} if "sig" in entry else {}
    if "instruction" in entry:
        instruction = {"text": entry["instruction"]}
        name = "additionalInstructions" if release == "DSTU2" else "additionalInstruction"
        found[name] = instruction if release == "DSTU2" else [instruction]
    if timing := _timing(entry, release):
        found["timing"] = timing
    if "as_needed" in entry:
        found["asNeeded" if release == "R5" else "asNeededBoolean"] = entry["as_needed"]
    if "route" in entry:
        code, display = ROUTES[entry["route"]]
        found["route"] = {"coding": [{"system": _SNOMED, "code": code, "display": display}]}
    stated = [{"dose": entry["dose"]}] if "dose" in entry else list(entry.get("doses", ()))
    amounts = [_amount(str(one["dose"])) | _kind(one) for one in stated]
    if "rate" in entry:
        rate = {"rateQuantity": _quantity(str(entry["rate"]))}
        if release == "DSTU2":
            amount, _, span = str(entry["rate"]).rpartition("/")
            rate = {"rateRatio": {"numerator": _quantity(amount), "denominator": _quantity(f"1 {span}")}}
        amounts = [amount | rate for amount in amounts] or [rate]
    if "most" in entry:
        amount, _, span = str(entry["most"]).rpartition("/")
        most = {"numerator": _quantity(amount), "denominator": _quantity(f"1 {span}")}
        found["maxDosePerPeriod"] = [most] if release == "R5" else most
    if amounts and release in ("DSTU2", "STU3"):
        found |= amounts[0]
    elif amounts:
        found["doseAndRate"] = amounts
    return found


def _kind(one: Mapping[str, Any]) -> Json:
    if "kind" not in one:
        return {}
    return {
        "type": {"coding": [{"system": f"{_TERMINOLOGY}/dose-rate-type", "code": one["kind"]}], "text": one["kind"]}
    }


def _amount(text: str) -> Json:
    if text.startswith("up to "):
        return {"doseRange": {"high": _quantity(text.removeprefix("up to "))}}
    if span := re.fullmatch(r"([\d.]+)-([\d.]+) (.+)", text):
        low, high, unit = span.groups()
        return {"doseRange": {"low": _quantity(f"{low} {unit}"), "high": _quantity(f"{high} {unit}")}}
    return {"doseQuantity": _quantity(text)}


def _quantity(text: str) -> Json:
    match = re.fullmatch(r"([<>]=?)?\s*(-?[\d.]+)\s*(.*)", text)
    if match is None:
        raise ValueError(f"no quantity: {text!r}")
    comparator, number, unit = match.groups()
    found: Json = {"value": float(number) if "." in number else int(number)}
    if comparator:
        found["comparator"] = comparator
    if unit in ("tablet", "tablets"):
        return found | {"unit": "tablet", "system": _UCUM, "code": "{tbl}"}
    if unit == "{pill}":  # as the public sandbox sends it: a code, nothing printed
        return found | {"system": _UCUM, "code": "{pill}"}
    return found | ({"unit": unit, "system": _UCUM, "code": unit} if unit else {})


def _timing(entry: Mapping[str, Any], release: str) -> Json:
    repeat: Json = {}
    unit_name = "periodUnits" if release == "DSTU2" else "periodUnit"
    span = entry.get("every") or entry.get("each")
    if span:
        length, unit = str(span).split()
        repeat = {"frequency": entry.get("times", 1), "period": int(length), unit_name: unit}
    if "lasts" in entry:
        length, unit = str(entry["lasts"]).split()
        repeat |= {"duration": float(length), "durationUnits" if release == "DSTU2" else "durationUnit": unit}
    if "count" in entry:
        repeat["count"] = entry["count"]
    if "clock" in entry:
        repeat["timeOfDay"] = [f"{time}:00" for time in entry["clock"]]
    if "weekdays" in entry:
        repeat["dayOfWeek"] = list(entry["weekdays"])
    bounds = {key: str(entry[name]) for name, key in (("from", "start"), ("to", "end")) if name in entry}
    if bounds and (repeat or "to" in entry):
        repeat["boundsPeriod"] = bounds
    found: Json = {"repeat": repeat} if repeat else {}
    if "code" in entry:
        coding = {"system": f"{_TERMINOLOGY}/v3-GTSAbbreviation", "code": entry["code"], "display": entry["code"]}
        found["code"] = {"coding": [coding], "text": entry["code"]}
    return found


# --------------------------------------------------------------------------------------------------------------------
# Judging the cards against `then`


def differences(scenario: Scenario, cards: list[Json]) -> list[str]:
    """What of the answer is not as the scenario says. An unexpected card is a difference too."""
    problems = []
    left = list(cards)
    for expected in scenario.then:
        wanted = _reference(scenario, expected)
        card = next((c for c in left if topic(c) == expected["topic"] and _about(c) == wanted), None)
        if card is None:
            problems.append(f"no card {expected['topic']} on {wanted}")
            continue
        left.remove(card)
        problems += [f"{expected['topic']}: {problem}" for problem in _card_differences(expected, card)]
    return problems + [f"unexpected card {_shown(card)}" for card in left]


def topic(card: Json) -> str:
    """The topic of a card."""
    return str(card["source"]["topic"]["code"])


def words_of(card: Json) -> str:
    """All that a clinician reads of a card, without Markdown escapes, in lower case."""
    return re.sub(r"\\([*_~#\\])", r"\1", f"{card['summary']}\n{card['detail']}").lower()


def proposals(card: Json) -> list[Json]:
    """The drafts that a card offers to change."""
    return [a["resource"] for s in card.get("suggestions", ()) for a in s["actions"] if a["type"] == "update"]


def _reference(scenario: Scenario, expected: Mapping[str, Any]) -> str | None:
    position = expected.get("order", 1)
    if position == "none":
        return None
    return f"MedicationRequest/{order_id(position, scenario.hook)}"


def _about(card: Json) -> str | None:
    reference = card["extension"]["cmv-cds.finding"]["order"]
    return None if reference is None else str(reference).replace("MedicationOrder/", "MedicationRequest/")


def _shown(card: Json) -> str:
    return f"{topic(card)}/{card['indicator']} {card['summary']!r}"


def _texts(expected: Mapping[str, Any], key: str) -> list[str]:
    return [str(text).lower() for text in expected.get(key, ())]


def _card_differences(expected: Mapping[str, Any], card: Json) -> Iterator[str]:
    if card["indicator"] != expected["indicator"]:
        yield f"indicator {card['indicator']}, expected {expected['indicator']} ({card['summary']})"
    words = words_of(card)
    yield from (f"does not say {text!r}: {words!r}" for text in _texts(expected, "says") if text not in words)
    yield from (f"says {text!r}" for text in _texts(expected, "never") if text in words)
    if "phase" in expected:
        phase = card["extension"]["cmv-cds.finding"].get("phase", {})
        found = f"{phase.get('value')} {phase.get('basis')}"
        if not found.startswith(str(expected["phase"])):
            yield f"phase {found}, expected {expected['phase']}"
    wanted = expected.get("suggests", [])
    wanted = [wanted] if isinstance(wanted, str) else list(wanted)
    offered = [read_proposal(resource) for resource in proposals(card)]
    if sorted(offered) != sorted(read_words(text) for text in wanted):
        yield f"suggests {offered}, expected {wanted}"
    written = json.dumps([resource["dosageInstruction"] for resource in proposals(card)], ensure_ascii=False)
    yield from (f"writes no {text!r}: {written}" for text in expected.get("writes", ()) if text not in written)
    actions = [action for s in card.get("suggestions", ()) for action in s["actions"]]
    created = _laboratory_codes(card)
    if created != [str(code) for code in expected.get("creates", ())]:
        yield f"orders the tests {created}, expected {expected.get('creates', [])}"
    if any(action["type"] == "delete" for action in actions) != bool(expected.get("removes")):
        yield (
            "removal of the draft is offered" if not expected.get("removes") else "removal of the draft is not offered"
        )


def _laboratory_codes(card: Json) -> list[str]:
    actions = [action for suggestion in card.get("suggestions", ()) for action in suggestion["actions"]]
    return [_laboratory_code(action["resource"]) for action in actions if action["type"] == "create"]


def _laboratory_code(resource: Json) -> str:
    code = resource["item"][0]["code"] if "item" in resource else resource["code"]
    return str(code.get("concept", code)["coding"][0]["code"])


Dose = tuple[Fraction, str, Fraction]  # amount, unit, administrations per day

_DAYS = {"h": Fraction(1, 24), "d": Fraction(1), "wk": Fraction(7)}


def read_proposal(resource: Json) -> Dose:
    """Amount, unit and administrations per day of a suggested order."""
    dosages = resource["dosageInstruction"]
    if all("when" in dosage.get("timing", {}).get("repeat", {}) for dosage in dosages):  # mornings and evenings
        doses = [_proposed(dosage) for dosage in dosages]
        return doses[0][0], doses[0][1], sum((dose[2] for dose in doses), Fraction(0))
    return _proposed(min(dosages, key=lambda dosage: dosage.get("sequence", 0)))


def _proposed(dosage: Json) -> Dose:
    """Of one instruction; a single dose has no administrations per day."""
    quantity = dosage["doseQuantity"] if "doseQuantity" in dosage else dosage["doseAndRate"][0]["doseQuantity"]
    repeat = dosage["timing"].get("repeat", {})
    unit = repeat.get("periodUnit") or repeat.get("periodUnits")
    often = repeat["frequency"] / (Fraction(str(repeat["period"])) * _DAYS[unit]) if unit else Fraction(0)
    return Fraction(str(quantity["value"])), str(quantity["code"]), often


def read_words(text: str) -> Dose:
    """The same of a regimen in a scenario: "450 mg every 12 h", "1.25 mg/kg 3 times weekly", "2 tablets once daily"."""
    match = re.fullmatch(
        r"([\d.]+) (\S+) (?:(once|twice|\d+ times)(?: (daily|weekly))?|every (\d+) h|(\d+) days a week)", text
    )
    if match is None:
        raise ValueError(f"no regimen: {text!r}")
    amount, unit, count, span, hours, days = match.groups()
    if hours:
        per_day = Fraction(24, int(hours))
    elif days:
        per_day = Fraction(int(days), 7)
    else:
        times = {"once": 1, "twice": 2}.get(count) or int(count.split()[0])
        per_day = Fraction(times, 7 if span == "weekly" else 1) if span else Fraction(0)
    return Fraction(amount), {"tablet": "{tbl}", "tablets": "{tbl}"}.get(unit, unit), per_day


# --------------------------------------------------------------------------------------------------------------------
# Judging the cards against the contract, whatever the case

_FINDING_ALWAYS = {"checks", "order", "citations", "knowledgeVersion", "serviceVersion"}
_FINDING_KEYS = _FINDING_ALWAYS | {"drug", "phase", "inputs", "ordered", "expected"}
_RANK = {"critical": 0, "warning": 1, "info": 2}


def breaches(cards: list[Json], request: Json) -> list[str]:
    """Where an answer breaks the rules that every answer keeps."""
    problems = list(_empties(cards, "cards"))
    ranks = [_RANK[card["indicator"]] for card in cards]
    if ranks != sorted(ranks):
        problems.append("the most severe card is not the first")
    keys = [(topic(card), _about(card)) for card in cards if _about(card)]  # an order without an id has no name here
    if len(set(keys)) != len(keys):
        problems.append("two cards of one topic on one order")
    tests = [(code, _about(card)) for card in cards if _about(card) for code in _laboratory_codes(card)]
    if len(set(tests)) != len(tests):
        problems.append("two cards of one order offer the same test")
    for card in cards:
        problems += [f"{topic(card)}: {problem}" for problem in _card_breaches(card)]
        text = str(_without_drafts(card))
        secret = [NAME, FAMILY, str(_born(request))] if _born(request) else [NAME, FAMILY]
        problems += [f"{topic(card)}: names the patient ({word})" for word in secret if word in text]
    return problems


def _born(request: Json) -> str:
    patient = (request.get("prefetch") or {}).get("patient")
    return patient.get("birthDate", "") if isinstance(patient, dict) else ""


def _without_drafts(card: Json) -> Json:
    """The card without the resources of its suggestions: a copy of a draft may carry whatever the draft carried."""
    found = deepcopy(card)
    for suggestion in found.get("suggestions", ()):
        for action in suggestion["actions"]:
            action.pop("resource", None)
    return found


def _empties(value: Any, path: str) -> Iterator[str]:
    """Nulls and empty values, but the order of a finding and what a client's own draft holds."""
    if value is None or value in ("", [], {}):
        if not path.endswith("cmv-cds.finding.order") and path != "cards":
            yield f"empty: {path}"
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key != "resource":
                yield from _empties(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from _empties(inner, f"{path}.{i}")


def _card_breaches(card: Json) -> Iterator[str]:
    if not 0 < len(card["summary"]) < 140 or "\n" in card["summary"]:
        yield f"summary of {len(card['summary'])} characters"
    if not re.fullmatch(r"[A-Za-z]{1,100}", topic(card)) or card["source"]["topic"]["system"] != "urn:cmv-cds:topic":
        yield f"topic {card['source']['topic']}"
    UUID(card["uuid"])
    if ("suggestions" in card) != ("selectionBehavior" in card) or card.get("selectionBehavior", "any") != "any":
        yield "selectionBehavior"
    identifiers = [suggestion["uuid"] for suggestion in card.get("suggestions", ())]
    if len(set(identifiers)) != len(identifiers) or not all(UUID(identifier) for identifier in identifiers):
        yield "uuid of the suggestions"
    if (card["indicator"] in ("warning", "critical")) != bool(card.get("overrideReasons")):
        yield "overrideReasons"
    for reason in card.get("overrideReasons", ()):
        if not (reason["code"] and reason["system"] and reason["display"]):
            yield f"override reason {reason}"
    finding = card["extension"]["cmv-cds.finding"]
    if finding.keys() - _FINDING_KEYS:
        yield f"unknown key in the finding: {sorted(finding.keys() - _FINDING_KEYS)}"
    if _FINDING_ALWAYS - finding.keys():
        yield f"missing in the finding: {sorted(_FINDING_ALWAYS - finding.keys())}"
    for entry in finding.get("inputs", ()):
        if not {"name", "value"} <= entry.keys() or entry.keys() - {"name", "value", "unit", "effective", "reference"}:
            yield f"input {entry}"
    for cite in finding.get("citations", ()):
        if not {"source", "section"} <= cite.keys() or cite.keys() - {"source", "section", "version", "url"}:
            yield f"citation {cite}"


def shape_breaches(cards: list[Json], request: Json, release: str) -> list[str]:
    """Suggested drafts that are not the client's own with only dose and timing changed, in the release it came in."""
    drafts = {f"{d['resourceType']}/{d['id']}": d for d in _drafts(request)}
    problems = []
    for card in cards:
        for resource in proposals(card):
            draft = drafts[f"{resource['resourceType']}/{resource['id']}"]
            problems += [f"{topic(card)}: {problem}" for problem in _shape(resource, draft, release)]
    return problems


def _drafts(request: Json) -> list[Json]:
    context = request["context"]
    held = context.get("draftOrders") or context.get("medications") or {}
    return [
        entry["resource"]
        for entry in held.get("entry", ())
        if entry["resource"]["resourceType"] in ("MedicationRequest", "MedicationOrder")
    ]


def _shape(resource: Json, draft: Json, release: str) -> Iterator[str]:
    others = {k: v for k, v in resource.items() if k != "dosageInstruction"}
    if others != {k: v for k, v in draft.items() if k != "dosageInstruction"}:
        yield "something beside the dosage was changed"
    before = draft.get("dosageInstruction") or [{}]
    if len(resource["dosageInstruction"]) != len(before):
        yield "an instruction is lost, or there is one more"
    changed = [(new, old) for new, old in zip(resource["dosageInstruction"], before, strict=False) if new != old]
    for new, old in changed:
        yield from _shape_of(new, old, release, limited="brincidofovir" in json.dumps(draft).lower())


def _shape_of(new: Json, old: Json, release: str, *, limited: bool) -> Iterator[str]:
    """Of one instruction that was changed; `limited`: of a drug that is for a number of doses, which may be added."""
    changing = {"text", "timing", "doseAndRate", "doseQuantity", "doseRange", "patientInstruction"}
    changing |= {"additionalInstruction", "additionalInstructions", "maxDosePerPeriod", "maxDosePerAdministration"}
    if {k: v for k, v in new.items() if k not in changing} != {k: v for k, v in old.items() if k not in changing}:
        yield "a part of the dosage that is neither dose nor timing was changed"
    # Without a dose in the draft there may be no mark of the release: R4 when in doubt.
    marked = release in ("DSTU2", "R5") or "doseQuantity" in old or "doseRange" in old
    early = release in ("DSTU2", "STU3") and marked
    if ("doseQuantity" in new) != early or ("doseAndRate" in new) == early:
        yield f"the dose does not stand where {release} has it"
    quantity = new["doseQuantity"] if early else new["doseAndRate"][0].get("doseQuantity", {})
    if (
        quantity.get("system") != _UCUM
        or not quantity.get("unit")
        or quantity.keys() - {"value", "unit", "system", "code"}
    ):
        yield f"quantity {quantity}"
    repeat, was = new["timing"].get("repeat", {}), old.get("timing", {}).get("repeat", {})
    single = old.get("timing", {}).get("event") or was.get("count") == 1 or "period" not in repeat
    if not single and (
        ("periodUnits" in repeat) != (release == "DSTU2") or ("periodUnit" in repeat) == (release == "DSTU2")
    ):
        yield f"unit of the period: {repeat}"
    restated = repeat.keys() & {"timeOfDay", "dayOfWeek", "frequencyMax", "periodMax"} or new["timing"].keys() - {
        "repeat"
    }
    if new["timing"] != old.get("timing") and (
        restated or ("count" in repeat and not single and "count" not in was and not limited)
    ):
        yield f"timing restates the old order: {new['timing']}"
    for bounds in ("boundsPeriod", "boundsDuration", "boundsQuantity"):
        if was.get(bounds) != repeat.get(bounds):
            yield "the bounds of the order were changed"
    stated = re.search(r"\d+(?:\.\d+)? ?(?:mg|mg/kg|tablets?|mL)\b(?!/)", new.get("text", ""))
    if stated and f"{quantity['value']:g}" not in new["text"]:
        yield f"stale text {new['text']!r}"


def same_over_releases(cards: list[Json]) -> list[Json]:
    """The cards without what may differ between releases: type names of orders, identifiers, suggested resources."""
    found: list[Json] = json.loads(json.dumps(cards).replace("MedicationOrder/", "MedicationRequest/"))
    for card in found:
        card.pop("uuid")
        for suggestion in card.get("suggestions", ()):
            suggestion.pop("uuid")
            for action in suggestion["actions"]:
                action.pop("resource", None)
    return found
