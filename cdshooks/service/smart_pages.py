"""The pages of the SMART app: launch, callback, flowsheet, worksheet.

What a clinician opens from a card. The verdict on it is the answer of the same checks that make the cards.
"""

from collections.abc import Callable, Iterator
from datetime import date, tzinfo
from decimal import Decimal
from functools import cache
from http import HTTPStatus
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from flask import Flask, Response, redirect, render_template, request, url_for

from cdshooks import __version__
from cdshooks.medicine.flowsheet import (
    Bar,
    DrugResistance,
    ExpectedDose,
    Flowsheet,
    ResistanceResult,
    Series,
    flowsheet,
)
from cdshooks.model import Facts, Lab
from cdshooks.pipeline import evaluate, facts_of
from cdshooks.service.config import Settings
from cdshooks.service.pages import PROBLEM, page_policy, problem
from cdshooks.service.smart import LOST, NotLaunched, NotReached, Patient, SmartApp, UnknownLaunch, hook_call
from cdshooks.service.smart_sessions import Ticket
from cdshooks.service.worksheet import worksheet
from cdshooks.wire.hooks import HookCall, Json, with_answers

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from cdshooks.medicine.knowledge import Knowledge

COOKIE: Final = "__Host-cdshooks-"  # and the handle: each launch has its own, so that two windows keep two patients
YEAR_S: Final = 365 * 24 * 3600


def register_smart(
    app: Flask,
    *,
    settings: Settings,
    base: str,
    knowledge: "Knowledge",
    store: "Engine",
    clinical_date: Callable[[], date],
    zone: tzinfo,
) -> None:
    """Add the app's paths. Without `[smart]` in the configuration no FHIR server is listed: every launch is a 400."""
    smart = SmartApp(settings.smart, base=base, store=store, limits=settings.limits, queries=knowledge.prefetch_queries)
    policy = page_policy(settings.smart.frame_ancestors, forms=True)

    def page(template: str, status: HTTPStatus = HTTPStatus.OK, **values: Any) -> Response:
        html = render_template(template, version=__version__, knowledge_version=knowledge.version, **values)
        return Response(html, status, headers=policy, mimetype="text/html")

    def opened(patient: Patient) -> HookCall:
        """The patient's chart as if an EHR had opened it."""
        call = hook_call("patient-view", {"patientId": patient.identifier}, settings.limits)
        return with_answers(call, patient.answers)

    def ticket_of(handle: str) -> Ticket:
        return Ticket(handle, request.cookies.get(COOKIE + handle, ""))

    def with_cookie(response: Response, ticket: Ticket, seconds: int) -> Response:
        """The secret of a launch, for this browser and, inside an EHR's frame, for that EHR alone."""
        response.set_cookie(
            COOKIE + ticket.handle,
            ticket.secret,
            max_age=seconds,
            path="/",
            secure=True,
            httponly=True,
            samesite="None",
            partitioned=True,
        )
        return response

    @app.get("/smart/launch")
    def smart_launch() -> Response:
        issuer = request.args.get("iss", "")
        if not issuer:
            raise UnknownLaunch("iss is missing: the app is launched by a FHIR server.", "iss")
        address, ticket = smart.begin(issuer, request.args.get("launch", ""))
        return with_cookie(_redirect(address), ticket, 600)

    @app.get(settings.smart.redirect)
    def smart_callback() -> Response:
        ticket = ticket_of(request.args.get("state", ""))
        if not ticket.handle or not ticket.secret:
            raise UnknownLaunch(LOST, "state")
        if request.args.get("error"):
            raise NotLaunched("The record system did not let the app in: the sign-in was refused or cancelled.")
        lasts = smart.finish(ticket, request.args.get("code", ""))
        return with_cookie(_redirect(url_for("smart_flowsheet", handle=ticket.handle)), ticket, lasts)

    @app.get("/smart/flowsheet/<handle>")
    def smart_flowsheet(handle: str) -> Response:
        patient = smart.patient(ticket_of(handle))
        today = clinical_date()
        call = opened(patient)
        facts = facts_of(call, knowledge=knowledge, today=today, zone=zone)
        sheet = flowsheet(facts, knowledge)
        return page(
            "flowsheet.html",
            handle=handle,
            person=_person(patient, facts),
            gaps=patient.gaps,
            cards=evaluate(call, knowledge=knowledge, today=today, zone=zone).cards,
            sheet=sheet,
            silence=_silence(facts),
            chart=chart_data(sheet, facts.today),
            rows=list(_rows(sheet)),
            levels=LEVELS,
            disclaimer=knowledge.resistance.rule.disclaimer,
            today=facts.today,
        )

    @app.get("/smart/worksheet/<handle>")
    def smart_worksheet(handle: str) -> Response:
        patient = smart.patient(ticket_of(handle))
        today = clinical_date()
        facts = facts_of(opened(patient), knowledge=knowledge, today=today, zone=zone)
        made = worksheet(patient, request.args, knowledge=knowledge, today=today, zone=zone, limits=settings.limits)
        return page(
            "worksheet.html",
            handle=handle,
            person=_person(patient, facts),
            gaps=patient.gaps,
            made=made,
            today=today,
        )

    @app.get("/assets/plotly.js")
    def plotly() -> Response:
        response = Response(_plotly(), mimetype="text/javascript")
        response.headers["Cache-Control"] = f"public, max-age={YEAR_S}, immutable"
        return response

    def refused(error: NotLaunched, status: HTTPStatus) -> Response:
        """A page for whoever sits in front of a browser, problem details for a program."""
        wanted = request.accept_mimetypes.best_match((PROBLEM, "text/html"), default=PROBLEM)
        if wanted == "text/html":
            return page("smart_message.html", status, message=str(error))
        return problem(status, str(error), field=getattr(error, "field", ""))

    @app.errorhandler(UnknownLaunch)
    def _unknown_launch(error: UnknownLaunch) -> Response:
        return refused(error, HTTPStatus.BAD_REQUEST)

    @app.errorhandler(NotReached)
    def _not_reached(error: NotReached) -> Response:
        return refused(error, HTTPStatus.BAD_GATEWAY)

    @app.errorhandler(NotLaunched)
    def _not_launched(error: NotLaunched) -> Response:
        return refused(error, HTTPStatus.UNAUTHORIZED)


def _redirect(address: str) -> Response:
    response = redirect(address, HTTPStatus.FOUND)
    assert isinstance(response, Response)  # noqa: S101 - flask's own class
    return response


@cache
def _plotly() -> bytes:
    """The chart library's script, from its installed package."""
    return (files("plotly") / "package_data" / "plotly.min.js").read_bytes()


# --------------------------------------------------------------------------------------------------------------------
# What the templates and the script are given


def _person(patient: Patient, facts: Facts) -> dict[str, str]:
    """Who the page is about, so that a wrong patient is seen at once."""
    resource: Any = patient.answers["patient"]
    name = next((n for n in resource.get("name", []) if isinstance(n, dict)), {}) if isinstance(resource, dict) else {}
    given = name.get("given")
    words = [*(given if isinstance(given, list) else []), name.get("family", "")]
    return {
        "name": name.get("text") or " ".join(str(word) for word in words if word) or f"Patient {patient.identifier}",
        "born": facts.born.isoformat() if isinstance(facts.born, date) else f"date of birth {facts.born}",
        "age": " ".join(map(str, facts.age_told)) if facts.age is not None else "age not known",
        "sex": facts.sex if isinstance(facts.sex, str) else f"sex {facts.sex}",
    }


def _silence(facts: Facts) -> str:
    """What it means that there is no card."""
    if facts.medicines_gap is not None:
        return f"No therapy could be checked: the medication list is not known ({facts.medicines_gap})."
    if not facts.orders:
        return "No running CMV antiviral is on the medication list, so there is no therapy to check."
    return "The running CMV therapy was looked at, and there is nothing to say."


def chart_data(sheet: Flowsheet, today: date) -> Json:
    """What the script draws: numbers as they are, words ready to be shown."""
    return {
        "today": today.isoformat(),
        "panels": [
            {"name": panel.name, "log": panel.log, "series": [_series(one) for one in panel.series]}
            for panel in sheet.panels
        ],
        "clearance": [
            {"at": _when(lab), "value": float(round(clearance.value, 1)), "words": clearance.arithmetic}
            for lab, clearance in sheet.clearance
        ],
        "resistance": [_resistance(result) for result in sheet.resistance if result.on],
        "bars": [_bar(bar, today) for bar in sheet.bars if bar.starts],
        "expected": [_expected(one, today) for one in sheet.expected],
    }


def _series(series: Series) -> Json:
    return {
        "name": series.name,
        "unit": _unit(series.unit),
        "missing": str(series.missing) if series.missing else "",
        "points": [
            {"at": _when(lab), "value": float(lab.value), "bound": lab.comparator, "words": _words(lab)}
            for lab in series.points
        ],
    }


def _unit(unit: str) -> str:
    """A UCUM unit as it is read: without the brackets of [IU]."""
    return unit.replace("[", "").replace("]", "")


def _when(lab: Lab) -> str:
    return lab.at.isoformat() if lab.at else lab.on.isoformat()


def _words(lab: Lab) -> str:
    remark = f", {lab.remark}" if lab.remark else ""
    return f"{lab.original} on {lab.on.isoformat()}{remark} ({lab.ref or 'no id'})"


LEVELS: Final = {
    "high": "high",
    "moderate": "moderate",
    "low": "low",
    "possible": "possible",
    "unknown": "not known",
    "none": "nothing found",  # never "susceptible"
}


def _resistance(result: ResistanceResult) -> Json:
    """A result with one mark for each drug."""
    return {
        "at": result.on.isoformat() if result.on else "",
        "drugs": [
            {
                "drug": one.drug,
                "level": one.level,
                "gap": bool(one.gaps),
                "words": "" if one.level in ("none", "unknown") else LEVELS[one.level],
                "lines": [
                    f"{result.what} of {result.on} ({result.ref or 'no id'})",
                    f"{one.drug}: {LEVELS[one.level]}",
                    *one.because,
                    *(f"not covered: {gap}" for gap in one.gaps),
                ],
            }
            for one in result.drugs
        ],
    }


def _levels(drugs: tuple[DrugResistance, ...]) -> str:
    """The levels of all drugs in one line, with what was not looked at."""
    told = []
    for one in drugs:
        gaps = f" (not covered: {', '.join(one.gaps)})" if one.gaps else ""
        told.append(f"{one.drug}: {LEVELS[one.level]}{gaps}")
    return "; ".join(told)


def _bar(bar: Bar, today: date) -> Json:
    end = bar.ends or (bar.starts if bar.over else today)
    return {
        "drug": bar.drug,
        "from": bar.starts.isoformat() if bar.starts else "",
        "to": end.isoformat() if end else "",
        "open": bar.ends is None,
        "amount": float(bar.amount) if bar.amount is not None else None,
        "unit": bar.unit,
        "words": f"{bar.name}{f', {bar.phase}' if bar.phase else ''} ({bar.ref or 'no id'})",
    }


def _expected(expected: ExpectedDose, today: date) -> Json:
    return {
        "drug": expected.drug,
        "name": expected.name,
        "unit": expected.unit,
        "source": expected.source,
        "until": today.isoformat(),
        "steps": [
            {
                "on": step.on.isoformat(),
                "low": _number(step.low),
                "high": _number(step.high),
                "words": f"CrCl {step.clearance}: {step.wording}",
            }
            for step in expected.steps
        ],
    }


def _number(value: Decimal | None) -> float:
    return float(value) if value is not None else 0.0


def _rows(sheet: Flowsheet) -> Iterator[tuple[str, str, str, str]]:
    """(date, what, value, source) of everything drawn, newest first: the same data as a table."""
    found: list[tuple[str, str, str, str]] = []
    for panel in sheet.panels:
        for series in panel.series:
            found += [(_day(lab), series.name, _value(lab), lab.ref) for lab in series.points]
    found += [
        (_day(lab), "creatinine clearance", str(clearance), clearance.formula) for lab, clearance in sheet.clearance
    ]
    for result in sheet.resistance:
        day = result.on.isoformat() if result.on else "undated"
        found.append((day, f"resistance: {', '.join(result.found)}", _levels(result.drugs), result.ref))
    for bar in sheet.bars:
        until = f" to {bar.ends.isoformat()}" if bar.ends else ", over" if bar.over else ", running"
        found.append((bar.starts.isoformat() if bar.starts else "", bar.drug, f"{bar.name}{until}", bar.ref))
    yield from sorted(found, key=lambda row: row[0], reverse=True)


def _day(lab: Lab) -> str:
    return lab.on.isoformat()


def _value(lab: Lab) -> str:
    return f"{lab.comparator}{lab.value.normalize():f} {_unit(lab.unit)}{f' ({lab.remark})' if lab.remark else ''}"
