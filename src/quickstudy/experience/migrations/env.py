"""Migrations run in the transaction of the store that is being opened; see `store.py`."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table="experience_schema",
    transaction_per_migration=False,
)
context.run_migrations()
