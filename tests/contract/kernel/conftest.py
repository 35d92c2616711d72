from tests.fixtures.postgres import shared_postgres

__all__ = ["shared_postgres"]
