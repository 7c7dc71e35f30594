"""What Alembic runs: the migrations, on the connection and in the transaction of whoever asked for them."""

from alembic import context

connection = context.config.attributes["connection"]
context.configure(connection=connection, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations(cipher=context.config.attributes["cipher"])
