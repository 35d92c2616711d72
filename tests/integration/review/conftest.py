from tests.fixtures.valkey import publisher, shared_valkey, valkey

__all__ = ["publisher", "shared_valkey", "valkey"]
