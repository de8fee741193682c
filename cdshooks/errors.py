"""The error family. Errors are raised where they are understood and become status codes in `service/app.py` only.

CdsError
├── KnowledgeError        a file in mappings/ is wrong: the service does not start
├── ConfigurationError    a setting is wrong: the service does not start
└── BadRequest            the call is no valid hook request (400)
    ├── TooLarge          body or number of entries over the limit (413)
    └── MissingPrefetch   data absent, and this client's configuration asks for 412
"""


class CdsError(Exception):
    """Base of all errors raised on purpose; its text may be shown to the caller (never patient data)."""


class KnowledgeError(CdsError):
    """A file in mappings/ cannot be used; the text names file, place and remedy."""


class ConfigurationError(CdsError):
    """A setting cannot be used; the text names file, key and remedy."""


class BadRequest(CdsError):
    """The request is no valid call. `field` is a path like `context.patientId`, empty when the whole body is meant."""

    def __init__(self, detail: str, field: str = "") -> None:
        """Keep what is wrong and where."""
        super().__init__(detail)
        self.detail = detail
        self.field = field


class TooLarge(BadRequest):
    """The body, or the number of entries in it, is over the configured limit."""


class MissingPrefetch(BadRequest):
    """Data needed for a check is absent and the client's configuration asks for 412 instead of a card."""
