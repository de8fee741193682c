"""How orders are read, judged and worded, and what a site may switch: the single files in mappings/."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from cdshooks.medicine.rules.entries import Cite, Entry
from cdshooks.medicine.rules.monitoring import Severity
from cdshooks.model import Indicator, Phase


class VolumeStep(Entry):
    """Suggested volumes from `from_ml` on are rounded to `step`; the last entry that is reached counts."""

    from_ml: Annotated[Decimal, Field(ge=0)]
    step: Annotated[Decimal, Field(gt=0)]


class JudgementRule(Entry):
    """mappings/judgement.yaml."""

    kind: Literal["judgement"]
    id: str
    title: str
    reviewed: str
    tolerance: Annotated[Decimal, Field(gt=0, lt=1)]
    strong: Annotated[Decimal, Field(gt=0, lt=1)]
    pounds_per_kg: Annotated[Decimal, Field(gt=1)]
    pounds_within: Annotated[Decimal, Field(gt=0, lt=1)]
    round_mg: Annotated[Decimal, Field(gt=0)]
    round_ml: Annotated[tuple[VolumeStep, ...], Field(min_length=1)]
    course_gap_days: Annotated[int, Field(ge=0)]
    lost: dict[Severity, Severity]  # of a check that could not be done, by the gravest card that it can give
    cite: Cite

    @model_validator(mode="after")
    def _grades_each_loss(self) -> "JudgementRule":
        if set(self.lost) != set(get_args(Severity)):
            raise ValueError(f"`lost` must say a severity for each of {', '.join(get_args(Severity))}")
        return self

    def of_loss(self, severities: Iterable[Severity]) -> Indicator:
        """How grave it is that a check that can give cards of these severities could not be done."""
        gravest = max((Indicator[severity.upper()] for severity in severities), default=Indicator.INFO)
        return next(Indicator[lost.upper()] for card, lost in self.lost.items() if card.upper() == gravest.name)


class PhaseWords(Entry):
    """Words that name each phase."""

    maintenance: tuple[str, ...]
    treatment: tuple[str, ...]
    prophylaxis: tuple[str, ...]


class Window(Entry):
    """Days after a transplantation."""

    days: int
    cite: Cite


class PhaseRule(Entry):
    """mappings/phases.yaml."""

    kind: Literal["phases"]
    id: str
    title: str
    reviewed: str
    words: PhaseWords
    another_time: tuple[str, ...]
    not_this: tuple[str, ...]
    denied: tuple[str, ...]
    ignore: tuple[str, ...]
    precedence: tuple[Phase, ...]
    then: tuple[str, ...]
    indications: dict[str, tuple[str, ...]]
    cmv_words: tuple[str, ...]
    disease: tuple[str, ...]
    detected: tuple[str, ...]
    other_purpose: tuple[str, ...]
    cite: Cite
    dnaemia_days: int
    schedule_gap_days: int
    prophylaxis_window_days: dict[str, Window]


class SerostatusRule(Entry):
    """mappings/serostatus.yaml: words for the CMV serostatus of donor and recipient."""

    kind: Literal["serostatus"]
    id: str
    title: str
    reviewed: str
    donor: tuple[str, ...]
    recipient: tuple[str, ...]
    positive: tuple[str, ...]
    negative: tuple[str, ...]
    between: tuple[str, ...]
    high_risk: tuple[str, ...]
    bare: tuple[str, ...]
    cite: Cite


class RouteRule(Entry):
    """mappings/routes.yaml: what route names mean for dosing."""

    kind: Literal["routes"]
    id: str
    enteral: tuple[str, ...]
    intravenous: tuple[str, ...]
    other_systemic: tuple[str, ...]
    local: tuple[str, ...]
    absorbed: tuple[str, ...]
    ambiguous_text: tuple[str, ...]


class OtherDrugs(Entry):
    """mappings/other_drugs.yaml."""

    kind: Literal["other-drugs"]
    id: str
    title: str
    names: dict[str, tuple[str, ...]]
    classes: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    not_systemic: tuple[str, ...]


class OverrideReason(Entry):
    """A reason a clinician may give for overriding a card: of any topic, or of these alone."""

    code: str
    display: str
    topics: tuple[str, ...] = ()


class CardWording(Entry):
    """mappings/cards.yaml."""

    kind: Literal["cards"]
    id: str
    topic_system: str
    reason_system: str
    note: str
    topics: dict[str, str]
    override_reasons: tuple[OverrideReason, ...]

    @model_validator(mode="after")
    def _every_topic_has_a_reason(self) -> "CardWording":
        named = {topic for reason in self.override_reasons for topic in reason.topics}
        if strange := sorted(named - self.topics.keys()):
            raise ValueError(f"an override reason names {', '.join(strange)}, which is no topic")
        if bare := [topic for topic in self.topics if not self.reasons_for(topic)]:
            raise ValueError(f"no override reason for {', '.join(bare)}: give one without `topics`")
        codes = [reason.code for reason in self.override_reasons]
        if len(set(codes)) < len(codes):
            raise ValueError("two override reasons have the same code")
        return self

    def reasons_for(self, topic: str) -> tuple[OverrideReason, ...]:
        """What a card of this topic offers."""
        return tuple(reason for reason in self.override_reasons if not reason.topics or topic in reason.topics)


class Switch(Entry):
    """One thing on which sources differ: `use` is one of `choices`, each with what it means."""

    use: str
    choices: dict[str, str]
    cite: Cite

    @model_validator(mode="after")
    def _is_a_choice(self) -> "Switch":
        if self.use not in self.choices:
            raise ValueError(f"{self.use!r} is no choice; write one of {', '.join(self.choices)}")
        return self


class SiteRule(Entry):
    """mappings/site.yaml: what a site may decide. Its own file (`overlay`) lays other values over these."""

    kind: Literal["site"]
    id: str
    title: str
    reviewed: str
    switches: dict[str, Switch]

    def holds(self, wanted: dict[str, str]) -> bool:
        """Do all the switches stand as wanted?"""
        return all(self.switches[name].use == value for name, value in wanted.items())
