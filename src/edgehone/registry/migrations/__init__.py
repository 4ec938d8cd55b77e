"""Alembic's migrations of the registry's database: one numbered file each in versions/. Released ones never change."""
