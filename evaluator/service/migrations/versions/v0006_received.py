"""How much each account has sent, whatever became of it."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Nobody has sent anything yet."""
    op.create_table(
        "received",
        sa.Column("account_id", sa.Integer(), nullable=False),
        sa.Column("hour", sa.Integer(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_received_account_id")),
        sa.PrimaryKeyConstraint("account_id", "hour", name=op.f("pk_received")),
    )
