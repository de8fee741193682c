"""The audit and its key, sights for repeated cards, tokens already seen; cards say whether they were shown."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

APPEND_ONLY = {
    "sqlite": (
        "CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END",
        "CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END",
    ),
    "postgresql": (
        "CREATE FUNCTION audit_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'audit is append-only'; END $$",
        "CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit "
        "FOR EACH STATEMENT EXECUTE FUNCTION audit_append_only()",
    ),
}


def upgrade() -> None:
    """Add what this version keeps beside cards and feedback."""
    op.add_column("cards", sa.Column("shown", sa.Boolean, nullable=False, server_default=sa.true()))
    op.create_index("ix_cards_created_at", "cards", ["created_at"])
    op.create_table(
        "audit",
        sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("event", sa.String, nullable=False),
        sa.Column("service", sa.String, nullable=False),
        sa.Column("client", sa.String, nullable=False),
        sa.Column("user_hash", sa.String, nullable=False),
        sa.Column("patient_hash", sa.String, nullable=False),
        sa.Column("hook_instance", sa.String, nullable=False),
        sa.Column("shown", sa.Boolean, nullable=False),
        sa.Column("orders", sa.JSON, nullable=False),
        sa.Column("cards", sa.JSON, nullable=False),
        sa.Column("failures", sa.JSON, nullable=False),
        sa.Column("feedback", sa.JSON, nullable=False),
        sa.Column("knowledge_version", sa.String, nullable=False),
        sa.Column("service_version", sa.String, nullable=False),
        sa.Column("key_id", sa.String, nullable=False),
        sa.Column("digest", sa.String, nullable=False),
    )
    op.create_index("ix_audit_at", "audit", ["at"])
    for statement in APPEND_ONLY[op.get_bind().dialect.name]:
        op.execute(statement)
    op.create_table(
        "audit_key",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("key", sa.String, nullable=False),
    )
    op.create_table(
        "sights",
        sa.Column("sight", sa.String, primary_key=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_sights_at", "sights", ["at"])
    op.create_table(
        "seen_tokens",
        sa.Column("token", sa.String, primary_key=True),
        sa.Column("ends_at", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_seen_tokens_ends_at", "seen_tokens", ["ends_at"])
