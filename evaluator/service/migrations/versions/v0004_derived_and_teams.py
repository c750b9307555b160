"""Whether an entry's instrumental is derived from what was uploaded, and the team that it was submitted for."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Entries that are there derive nothing, and are their authors' own."""
    op.add_column(
        "entries",
        sa.Column("derives_instrumental", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
    op.add_column("entries", sa.Column("team", sa.String(length=64), nullable=True))
