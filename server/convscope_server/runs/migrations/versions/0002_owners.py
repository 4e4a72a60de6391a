"""Version 2: runs and uploads belong to principals, and what they cost is kept."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_UNNAMED = {"uq": "%(table_name)s_%(column_0_name)s_key"}  # what version 1 left to the database to name


def upgrade() -> None:
    """Earlier runs are nobody's in particular: admins see them. Request ids become each owner's own."""
    with op.batch_alter_table("runs", naming_convention=_UNNAMED) as runs:
        runs.add_column(sa.Column("owner", sa.String, nullable=False, server_default=""))
        runs.add_column(sa.Column("identity", sa.String(64)))
        runs.add_column(sa.Column("device_seconds", sa.Double, nullable=False, server_default="0"))
        runs.add_column(sa.Column("stored_bytes", sa.BigInteger, nullable=False, server_default="0"))
        runs.drop_constraint("runs_request_id_key", type_="unique")
        runs.create_unique_constraint("runs_one_for_a_request", ["owner", "request_id"])
    op.create_index("ix_runs_owner", "runs", ["owner"])
    op.create_index("ix_runs_identity", "runs", ["identity"])
    op.create_table(
        "holdings",
        sa.Column("owner", sa.String, primary_key=True),
        sa.Column("digest", sa.String, primary_key=True),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
    )
