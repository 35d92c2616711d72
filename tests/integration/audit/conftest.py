from tests.fixtures.valkey import shared_valkey, valkey

__all__ = ["shared_valkey", "valkey"]
