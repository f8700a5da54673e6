"""Tasks, strategies, runs and trials."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    time = sa.DateTime(timezone=True)
    op.create_table(
        "experience_runs",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("command", sa.Text, nullable=False),
        sa.Column("recipe", sa.JSON, nullable=False),
        sa.Column("commit", sa.Text),
        sa.Column("machine", sa.Text),
        sa.Column("started", time, nullable=False),
        sa.Column("finished", time, nullable=False),
        sa.Column("report", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_experience_runs"),
    )
    op.create_table(
        "experience_tasks",
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("features", sa.JSON, nullable=False),
        sa.Column("provenance", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("fingerprint", name="pk_experience_tasks"),
    )
    op.create_table(
        "experience_strategies",
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("configuration", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("fingerprint", name="pk_experience_strategies"),
    )
    references = {
        "task": "experience_tasks.fingerprint",
        "strategy": "experience_strategies.fingerprint",
        "run": "experience_runs.id",
    }
    op.create_table(
        "experience_trials",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("task", sa.Text, nullable=False),
        sa.Column("strategy", sa.Text, nullable=False),
        sa.Column("run", sa.Text),
        sa.Column("metric", sa.Text),
        sa.Column("scores", sa.JSON, nullable=False),
        sa.Column("seconds", sa.Float),
        sa.Column("cost", sa.JSON, nullable=False),
        sa.Column("failure", sa.Text),
        sa.Column("at", time, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_experience_trials"),
        *(
            sa.ForeignKeyConstraint([column], [target], name=f"fk_experience_trials_{column}")
            for column, target in references.items()
        ),
    )
    for column in references:
        op.create_index(f"ix_experience_trials_{column}", "experience_trials", [column])
    op.create_table(
        "experience_upgrades",
        sa.Column("revision", sa.Text, nullable=False),
        sa.Column("quickstudy", sa.Text, nullable=False),
        sa.Column("at", time, nullable=False),
        sa.PrimaryKeyConstraint("revision", name="pk_experience_upgrades"),
    )
