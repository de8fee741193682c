"""What holds for every patient and every request, whatever the numbers: searched with Hypothesis, reproducibly."""

import json
import random
import re
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from copy import deepcopy
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from conftest import CardsOf, ClientOn, Judge
from hypothesis import given, settings
from hypothesis import strategies as st
from scenario import PATIENT, Json, Scenario, breaches, bundle, load_scenarios, render, topic

from cdshooks.errors import BadRequest

TODAY = date(2026, 11, 21)
NEGATIVE_TEST: Json = {
    "resourceType": "Observation",
    "id": "obs-test",
    "status": "final",
    "code": {"coding": [{"system": "http://loinc.org", "code": "2118-8"}]},
    "subject": {"reference": f"Patient/{PATIENT}"},
    "effectiveDateTime": "2026-11-20",
    "valueString": "Negative",
}
UCUM = "http://unitsofmeasure.org"
SCENARIOS = load_scenarios()
REASONS = ("Treatment of CMV disease", "Maintenance", "CMV prophylaxis", "")
ORDERS = {  # product -> doses met in practice and beyond
    "ganciclovir injection": [
        f"{dose} mg/kg" for dose in ("0.3", "0.625", "1.25", "2.5", "3.75", "5", "6", "7.5", "10")
    ],
    "valganciclovir 450 mg tablet": [f"{dose} mg" for dose in ("225", "450", "900", "1350", "1800")],
}
TIMINGS = ((1, 8, "h"), (1, 12, "h"), (1, 24, "h"), (1, 48, "h"), (2, 1, "wk"), (3, 1, "wk"), (5, 1, "wk"))

reproducible = settings(deadline=None, derandomize=True, max_examples=150)
patients = st.fixed_dictionaries(
    {
        "age": st.integers(18, 95),
        "sex": st.sampled_from(["female", "male"]),
        "weight": st.integers(35, 160),
        "creatinine": st.decimals("0.3", "15", places=2),
    }
)
orders = st.sampled_from(sorted(ORDERS)).flatmap(
    lambda drug: st.fixed_dictionaries(
        {
            "drug": st.just(drug),
            "dose": st.sampled_from(ORDERS[drug]),
            "timing": st.sampled_from(TIMINGS),
            "reason": st.sampled_from(REASONS),
        }
    )
)


def quantity(value: object, unit: str) -> Json:
    return {"value": float(str(value)), "unit": unit, "system": UCUM, "code": unit}


def result(identifier: str, loinc: str, value: object, unit: str, on: str = "2026-11-20") -> Json:
    return {
        "resourceType": "Observation",
        "id": identifier,
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": loinc}]},
        "subject": {"reference": f"Patient/{PATIENT}"},
        "effectiveDateTime": on,
        "valueQuantity": quantity(value, unit),
    }


def request(patient: Json, order: Json, results: list[Json] | None = None) -> Json:
    """An order-sign call for one patient with one order."""
    frequency, period, unit = order["timing"]
    amount, _, dose_unit = order["dose"].partition(" ")
    draft = {
        "resourceType": "MedicationRequest",
        "id": "draft-1",
        "status": "draft",
        "intent": "order",
        "subject": {"reference": f"Patient/{PATIENT}"},
        "medicationCodeableConcept": {"text": order["drug"]},
        "dosageInstruction": [
            {
                "timing": {"repeat": {"frequency": frequency, "period": period, "periodUnit": unit}},
                "doseAndRate": [{"doseQuantity": quantity(amount, dose_unit)}],
            }
        ],
    }
    if order["reason"]:
        draft["reasonCode"] = [{"text": order["reason"]}]
    if results is None:
        results = [
            result("obs-1", "2160-0", patient["creatinine"], "mg/dL"),
            result("obs-2", "29463-7", patient["weight"], "kg"),
        ]
    empty: Json = {"resourceType": "Bundle", "type": "searchset", "total": 0}
    return {
        "hook": "order-sign",
        "hookInstance": "3b8f7f0e-7d0a-4c59-9d0a-0a5a1f1f6c11",
        "context": {"patientId": PATIENT, "userId": "Practitioner/1", "draftOrders": bundle([draft], "collection")},
        "prefetch": {
            "patient": {
                "resourceType": "Patient",
                "id": PATIENT,
                "gender": patient["sex"],
                "birthDate": f"{TODAY.year - patient['age']}-02-11",
            },
            "kidney": bundle(results),
            "pregnancy": bundle([NEGATIVE_TEST]),
            **dict.fromkeys(("conditions", "procedures", "medications", "allergies", "virology", "counts"), empty),
        },
    }


def verdict(cards: list[Json]) -> list[tuple[str, str, Any]]:
    """What is said, without the numbers as sent."""
    return [(topic(c), c["indicator"], c["extension"]["cmv-cds.finding"].get("expected")) for c in cards]


# --------------------------------------------------------------------------------------------------------------------
# The same facts in another form


@reproducible
@given(patient=patients, order=orders)
def test_creatinine_in_micromoles_gives_the_same_verdict(patient: Json, order: Json, judge: Judge) -> None:
    micromoles = result("obs-1", "14682-9", patient["creatinine"] * Decimal("88.4"), "umol/L")
    weight = result("obs-2", "29463-7", patient["weight"], "kg")
    converted = judge(request(patient, order, [micromoles, weight]), TODAY).cards
    assert verdict(converted) == verdict(judge(request(patient, order), TODAY).cards)


@reproducible
@given(patient=patients, order=orders, unit=st.sampled_from(["g", "[lb_av]"]))
def test_weight_in_grams_or_pounds_gives_the_same_verdict(patient: Json, order: Json, unit: str, judge: Judge) -> None:
    factor = {"g": Decimal("0.001"), "[lb_av]": Decimal("0.45359237")}[unit]
    amount = patient["weight"] * (1000 if unit == "g" else 2)
    creatinine = result("obs-1", "2160-0", patient["creatinine"], "mg/dL")
    given_so = [creatinine, result("obs-2", "29463-7", amount, unit)]
    in_kilograms = [creatinine, result("obs-2", "29463-7", amount * factor, "kg")]
    left, right = (judge(request(patient, order, results), TODAY).cards for results in (given_so, in_kilograms))
    assert verdict(left) == verdict(right)


@reproducible
@given(patient=patients, order=orders)
def test_dose_in_grams_gives_the_same_verdict(patient: Json, order: Json, judge: Judge) -> None:
    amount, _, unit = order["dose"].partition(" ")
    in_grams = order | {"dose": f"{Decimal(amount) / 1000} {unit.replace('mg', 'g', 1)}"}
    cards = judge(request(patient, order), TODAY).cards
    assert verdict(judge(request(patient, in_grams), TODAY).cards) == verdict(cards)


@reproducible
@given(
    patient=patients,
    order=orders,
    creatinines=st.lists(
        st.tuples(st.decimals("0.3", "9", places=1), st.integers(10, 21)), min_size=1, max_size=5, unique=True
    ),
    seed=st.integers(0, 2**16),
)
def test_order_and_repetition_of_results_do_not_matter(
    patient: Json, order: Json, creatinines: list[tuple[Decimal, int]], seed: int, judge: Judge
) -> None:
    results = [
        result(f"obs-{i}", "2160-0", value, "mg/dL", f"2026-11-{day}") for i, (value, day) in enumerate(creatinines)
    ]
    results.append(result("weight", "29463-7", patient["weight"], "kg"))
    mixed = [*results, *random.Random(seed).sample(results, len(results) // 2)]
    random.Random(seed + 1).shuffle(mixed)
    cards = judge(request(patient, order, results), TODAY).cards
    assert judge(request(patient, order, mixed), TODAY).cards == cards


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: f"{s.file}: {s.name}")
def test_order_and_repetition_of_entries_do_not_matter(scenario: Scenario, judge: Judge, cards_of: CardsOf) -> None:
    """Every Bundle of the prefetched data backwards, its first entry twice; the orders judged keep their place."""
    mixed = render(scenario)
    for value in mixed["prefetch"].values():
        if isinstance(value, dict) and len(value.get("entry", ())) > 0 and scenario.hook != "patient-view":
            value["entry"] = [*reversed(value["entry"]), deepcopy(value["entry"][0])]
    assert verdict(judge(mixed, scenario.today).cards) == verdict(cards_of(scenario))


# --------------------------------------------------------------------------------------------------------------------
# Worse kidneys, missing inputs


@reproducible
@given(
    patient=patients,
    order=orders.filter(lambda order: order["reason"]),
    steps=st.lists(st.integers(1, 300), max_size=6),
)
def test_worse_kidneys_never_make_too_much_less_severe(
    patient: Json, order: Json, steps: list[int], judge: Judge
) -> None:
    """For one order of a stated phase and a steady creatinine, severity of "too much" only grows with the creatinine.

    "Not recommended" counts as the most severe. Too little and a wrong interval are no part of this: they end as the
    expected dose falls. Implausible values above 20 mg/dL are left out.
    """
    creatinine, before = patient["creatinine"], -1
    for step in (0, *steps):
        creatinine += Decimal(step) / 100
        if creatinine > 20:
            break
        now = _too_much(judge(request(patient | {"creatinine": creatinine}, order), TODAY).cards)
        assert now >= before, f"at creatinine {creatinine}"
        before = now


def _too_much(cards: list[Json]) -> int:
    ranks = {"info": 0, "warning": 1, "critical": 2}
    found = [c for c in cards if topic(c) == "contraindication" or "is too much" in c["summary"]]
    return max((ranks[card["indicator"]] for card in found), default=0)


@pytest.mark.parametrize(
    "scenario",
    [s for s in SCENARIOS if s.worst in ("warning", "critical")],
    ids=lambda s: f"{s.file}: {s.name}",
)
def test_a_lost_input_never_turns_a_warning_into_silence(scenario: Scenario, judge: Judge) -> None:
    request = render(scenario)
    for change, body in _lost_inputs(request, scenario):
        assert judge(body, scenario.today).cards, f"silent when {change}"


def _lost_inputs(request: Json, scenario: Scenario) -> Iterator[tuple[str, Json]]:
    """The request with one input gone. The drug, the order itself and (at chart opening) the list of orders stay."""
    failed = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "timeout"}]}
    for key in request["prefetch"]:
        if key == "medications":
            continue
        if key in ("virology", "reports") and scenario.file == "resistance":
            continue  # most patients have no genotype: one that was not sent is no gap that a card could name
        body = deepcopy(request)
        del body["prefetch"][key]
        yield f"{key} is not sent", body
        body = deepcopy(request)
        body["prefetch"][key] = failed
        yield f"{key} is not fetched", body
    for name in ("birthDate", "gender"):
        body = deepcopy(request)
        if isinstance(body["prefetch"].get("patient"), dict) and body["prefetch"]["patient"].pop(name, None):
            yield f"{name} is gone", body
    if not scenario.orders or scenario.hook == "medication-verify":
        return
    if scenario.name.startswith(("Aciclovir", "Valaciclovir", "Famciclovir")):
        return  # only its own words make such an order one about CMV
    for part in ("reasonCode", "note", "dosageInstruction"):
        if (
            part == "reasonCode"
            and scenario.name == "Foscarnet for CMV in a code alone beside a note on herpes simplex"
        ):
            continue  # without its reason the order's own words say herpes simplex, and the dose is right for that
        if part == "note" and any(word in str(request["context"]) for word in ("herpes", "Failed ganciclovir")):
            continue  # the note says against what the order is, or what failed: without it, it is another order
        body = deepcopy(request)
        drafts = body["context"].get("draftOrders") or body["context"]["medications"]
        if sum(entry["resource"].pop(part, None) is not None for entry in drafts["entry"]):
            yield f"{part} of the draft is gone", body


# --------------------------------------------------------------------------------------------------------------------
# Requests that nobody should send

Path = tuple[str | int, ...]
JUNK: tuple[Any, ...] = (
    None,
    "",
    [],
    {},
    0,
    -1,
    1e308,
    10**400,
    True,
    "x",
    "2026-13-45",
    ["x"],
    {"x": None},
    [[]],
    "\u202egnp.exe",
    "9" * 500,
)


def _paths(value: Any, path: Path = ()) -> Iterator[Path]:
    """The path of every node below the top."""
    if path:
        yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _paths(inner, (*path, key))
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from _paths(inner, (*path, i))


def _holder(value: Any, path: Path) -> Any:
    for step in path[:-1]:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return None  # an earlier change took the branch away
    return value


def _held(holder: Any, step: str | int) -> bool:
    if isinstance(holder, list):
        return isinstance(step, int) and step < len(holder)
    return isinstance(holder, dict) and step in holder


def _damaged(request: Json, seed: int) -> Json:
    """The request with one to four nodes deleted or replaced by something that does not belong there."""
    chance = random.Random(seed)
    body = deepcopy(request)
    paths = list(_paths(body))
    for path in chance.sample(paths, min(len(paths), chance.randint(1, 4))):
        holder = _holder(body, path)
        if not _held(holder, path[-1]):
            continue
        if chance.random() < 0.4:
            del holder[path[-1]]
        else:
            holder[path[-1]] = chance.choice(JUNK)
    return body


@settings(reproducible, max_examples=800)
@given(index=st.integers(0, len(SCENARIOS) - 1), seed=st.integers(0, 2**32))
def test_damaged_requests_are_answered_or_refused(index: int, seed: int, client_on: ClientOn) -> None:
    scenario = SCENARIOS[index]
    body = _damaged(render(scenario, scenario.releases[seed % len(scenario.releases)]), seed)
    text = json.dumps(body)
    response = client_on(scenario.today).post(
        f"/cds-services/{scenario.service}", data=text, content_type="application/json"
    )
    assert response.status_code in (200, 400), text
    if response.status_code == 200:
        cards = response.get_json()["cards"]
        assert breaches(cards, {}) == [], text
        assert not any("internal error" in card["summary"] for card in cards), text


@settings(reproducible, max_examples=500)
@given(index=st.integers(0, len(SCENARIOS) - 1), seed=st.integers(0, 2**32))
def test_damaged_requests_make_no_check_raise(index: int, seed: int, judge: Judge) -> None:
    scenario = SCENARIOS[index]
    body = _damaged(render(scenario, scenario.releases[seed % len(scenario.releases)]), seed)
    body["hook"] = scenario.hook
    if 10**400 in _leaves(body):
        return  # a number that orjson cannot write; the test above sends it as text
    with suppress(BadRequest):
        judge(body, scenario.today)


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for inner in value.values() for leaf in _leaves(inner)]
    if isinstance(value, list):
        return [leaf for inner in value for leaf in _leaves(inner)]
    return [value] if isinstance(value, int) else []


# --------------------------------------------------------------------------------------------------------------------
# Words that come with a request

NASTY = (
    "<img src=x onerror=alert(1)>",
    "</td><script>alert(1)</script>",
    "[click](javascript:alert(1))",
    "![x](https://evil.example/x.png)",
    "https://evil.example/login",
    "www.evil.example",
    "`code` | a | b",
    "\u202egnitrap\u202c",
    "line\nbreak\r\x00\x1b[31m",
    "&lt;b&gt; &#60;i>",
    "**bold** # head _em_",
    "<!-- hidden",
    "mailto:x@evil.example",
)
_LIVE = re.compile(r"<[A-Za-z/!?]|\]\(|https?://evil|www\.evil|javascript:|mailto:x|&lt;b|&#60;|`|@evil", re.IGNORECASE)


@settings(reproducible, max_examples=500)
@given(index=st.integers(0, len(SCENARIOS) - 1), seed=st.integers(0, 2**32))
def test_words_of_a_request_are_harmless_in_the_answer(index: int, seed: int, client_on: ClientOn) -> None:
    scenario = SCENARIOS[index]
    chance = random.Random(seed)
    body = render(scenario, scenario.releases[seed % len(scenario.releases)])
    texts = [
        p for p in _paths(body) if isinstance(_holder(body, p)[p[-1]], str) and p[-1] not in ("hook", "resourceType")
    ]
    for path in chance.sample(texts, min(len(texts), chance.randint(1, 6))):
        holder = _holder(body, path)
        word = chance.choice(NASTY)
        holder[path[-1]] = chance.choice((f"{holder[path[-1]]} {word}", f"{word} {holder[path[-1]]}", word))
    response = client_on(scenario.today).post(f"/cds-services/{scenario.service}", json=body)
    assert response.status_code in (200, 400)
    for text in _strings(response.get_json()):
        assert not _LIVE.search(text), text
        odd = [c for c in text.replace("\n", "") if unicodedata.category(c) in ("Cc", "Cf", "Co", "Cs", "Zl", "Zp")]
        assert odd == [], text
    for card in response.get_json().get("cards", ()):
        assert "**bold**" not in card["detail"]
        assert "\n" not in card["summary"]


def _strings(value: Any) -> Iterator[str]:
    """Every string of an answer but those in a suggestion's copy of the draft."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key != "resource":
                yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)
    elif isinstance(value, str):
        yield value
