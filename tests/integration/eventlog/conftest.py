from tests.fixtures.kafka import kafka, shared_kafka
from tests.fixtures.valkey import shared_valkey, valkey

__all__ = ["kafka", "shared_kafka", "shared_valkey", "valkey"]
