"""Cards and feedback, as the first version made them without steps; such a database is taken over as it is."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables that are not there."""
    op.create_table(
        "cards",
        sa.Column("uuid", sa.String, primary_key=True),
        sa.Column("service", sa.String, nullable=False),
        sa.Column("topic", sa.String, nullable=False),
        sa.Column("indicator", sa.String, nullable=False),
        sa.Column("rules", sa.JSON, nullable=False),
        sa.Column("knowledge_version", sa.String, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "feedback",
        sa.Column("entry", sa.String, primary_key=True),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("service", sa.String, nullable=False),
        sa.Column("card", sa.String, nullable=False),
        sa.Column("outcome", sa.String, nullable=False),
        sa.Column("outcome_at", sa.String, nullable=False),
        sa.Column("reasons", sa.JSON, nullable=False),
        sa.Column("comment", sa.Text, nullable=False),
        sa.Column("accepted", sa.JSON, nullable=False),
        sa.Column("matched", sa.Boolean, nullable=False),
        if_not_exists=True,
    )
    op.create_index("ix_feedback_card", "feedback", ["card"], if_not_exists=True)
