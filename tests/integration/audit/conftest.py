from tests.fixtures.postgres import postgres, shared_postgres
from tests.fixtures.valkey import publisher, shared_valkey, valkey

__all__ = ["postgres", "publisher", "shared_postgres", "shared_valkey", "valkey"]
