"""${message}"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from callback_sdk.service.store.cipher import CredentialCipher

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade(cipher: CredentialCipher) -> None:
    ${upgrades if upgrades else "pass"}


def downgrade(cipher: CredentialCipher) -> None:
    raise NotImplementedError("Restore the backup.")
