"""What Alembic runs revisions with: the connection that `upgrade` is given, inside its transaction."""

from __future__ import annotations

from alembic import context

if __name__ == "env_py":  # Alembic's name for this file, when it runs a command
    context.configure(connection=context.config.attributes["connection"], transactional_ddl=False)
    context.run_migrations()
