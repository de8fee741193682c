"""The flow sheet and the worksheet (`mappings/flowsheet.yaml`)."""

from typing import Literal

from pydantic import StrictBool

from cdshooks.medicine.rules.entries import Entry


class Panel(Entry):
    """One row of the flowsheet; its analytes share an axis."""

    name: str
    analytes: tuple[str, ...]
    scale: Literal["linear", "log"] = "linear"
    with_drugs: tuple[str, ...] = ()
    optional: StrictBool = False


class WorksheetDrug(Entry):
    """A product that the worksheet shows the regimens of, for each purpose."""

    product: str
    route: str
    purposes: tuple[str, ...]


class FlowsheetRule(Entry):
    """mappings/flowsheet.yaml."""

    kind: Literal["flowsheet"]
    id: str
    title: str
    panels: tuple[Panel, ...]
    worksheet: tuple[WorksheetDrug, ...]
