"""CMV therapy checks inside the EHR: a CDS Hooks service for orders of drugs against cytomegalovirus."""

__version__ = "0.1.0"
