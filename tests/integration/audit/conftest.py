from tests.fixtures.postgres import postgres, shared_postgres
from tests.fixtures.valkey import shared_valkey, valkey

__all__ = ["postgres", "shared_postgres", "shared_valkey", "valkey"]
