"""Models of the rule files in mappings/: what a pharmacist may write, and which slips are refused.

One model per `kind`. Every figure carries its source. Reading the files is the business of `knowledge`.
"""

from cdshooks.medicine.rules.advice import (
    Advice,
    CourseLength,
    Definition,
    DurationRule,
    EndOfTreatment,
    IndicationRule,
    NotForCmvRule,
    ProphylaxisLength,
    ResponseRule,
    SecondaryProphylaxis,
)
from cdshooks.medicine.rules.dose import CidofovirRule, DoseRule
from cdshooks.medicine.rules.interaction import DuplicateRule, InteractionLimits, InteractionRule
from cdshooks.medicine.rules.kidney import KidneyRule
from cdshooks.medicine.rules.monitoring import MonitoringRule, ToxicityRule
from cdshooks.medicine.rules.reading import JudgementRule, PhaseRule, SiteRule
from cdshooks.medicine.rules.renal_dose import RenalDoseRule
from cdshooks.medicine.rules.resistance import ResistanceRule
from cdshooks.medicine.rules.safety import AllergyRule, ImmunosuppressionRule, PregnancyRule, SafetyRule

DrugRule = (
    RenalDoseRule
    | DoseRule
    | CidofovirRule
    | MonitoringRule
    | ToxicityRule
    | InteractionRule
    | InteractionLimits
    | DuplicateRule
)
CareRule = AllergyRule | SafetyRule | PregnancyRule | ImmunosuppressionRule
AdviceRule = IndicationRule | NotForCmvRule | ResponseRule | DurationRule
FiledRule = DrugRule | CareRule | AdviceRule  # a file in mappings/rules/
KINDS: dict[str, type[FiledRule]] = {
    "renal-dose": RenalDoseRule,
    "dose": DoseRule,
    "cidofovir": CidofovirRule,
    "monitoring": MonitoringRule,
    "toxicity": ToxicityRule,
    "interaction": InteractionRule,
    "interaction-limits": InteractionLimits,
    "duplicate": DuplicateRule,
    "allergy": AllergyRule,
    "safety": SafetyRule,
    "pregnancy": PregnancyRule,
    "immunosuppression": ImmunosuppressionRule,
    "indication": IndicationRule,
    "not-for-cmv": NotForCmvRule,
    "response": ResponseRule,
    "duration": DurationRule,
}
Row = Advice | NotForCmvRule | Definition | CourseLength | ProphylaxisLength | SecondaryProphylaxis | EndOfTreatment
StandingRule = KidneyRule | JudgementRule | PhaseRule | SiteRule | ResistanceRule | ResponseRule
Rule = DrugRule | CareRule | StandingRule | Row  # what stands behind cards
