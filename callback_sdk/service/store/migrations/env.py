"""Alembic's environment: runs the migrations on the caller's connection, in the caller's transaction."""

from alembic import context

connection = context.config.attributes["connection"]
context.configure(connection=connection, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations(cipher=context.config.attributes["cipher"])
