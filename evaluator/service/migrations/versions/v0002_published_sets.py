"""Which published scores are shown below a board."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Benchmarks that are there have none."""
    op.add_column(
        "benchmarks",
        sa.Column("published_sets", sa.JSON(), nullable=False, server_default=sa.text("'[]'")),
    )
