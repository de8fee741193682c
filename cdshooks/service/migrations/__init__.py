"""The steps that make the tables, in order. `env` is what Alembic runs; `versions` holds one module for each step."""
