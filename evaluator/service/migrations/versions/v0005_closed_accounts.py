"""When an account was closed, and whether somebody still signs in as it with a provider."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Accounts that are there are open, and what is linked to them stays so."""
    op.add_column("accounts", sa.Column("closed", sa.Float(53), nullable=True))
    op.add_column(
        "identities", sa.Column("is_linked", sa.Boolean(), nullable=False, server_default=sa.true())
    )
