"""Run by Alembic: the steps go through the connection that `store` hands over, inside its transaction."""

from alembic import context

from cdshooks.service.store import TABLES

context.configure(connection=context.config.attributes["connection"], target_metadata=TABLES, transactional_ddl=True)
context.run_migrations()
