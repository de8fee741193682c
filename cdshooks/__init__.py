"""CMV therapy checks inside the EHR: a CDS Hooks service for orders of drugs against cytomegalovirus."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flask import Flask

__version__ = "0.1.0"
__all__ = ["__version__", "create_app"]


def create_app(*args: Any, **kwargs: Any) -> "Flask":
    """The Flask application, see `cdshooks.service.app`; imported on call, so that light commands start quickly."""
    from cdshooks.service.app import create_app as create

    return create(*args, **kwargs)
