"""${message}"""

import sqlalchemy as sa
from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade(vault):
    ${upgrades if upgrades else "pass"}


def downgrade(vault):
    raise NotImplementedError("Go back to the backup.")
