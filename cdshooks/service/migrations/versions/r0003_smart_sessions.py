"""Launches of the SMART app, sealed."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add what the app remembers of a launch."""
    op.create_table(
        "smart_sessions",
        sa.Column("session", sa.String, primary_key=True),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("ends_at", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_smart_sessions_ends_at", "smart_sessions", ["ends_at"])
