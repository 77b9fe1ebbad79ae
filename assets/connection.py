"""How to reach Kafka and NATS; read from the environment, secrets are never printed."""

import os
from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, SecretStr


class KafkaConnection(BaseModel):
    """A Kafka cluster. `KAFKA_BOOTSTRAP`, `KAFKA_SECURITY_PROTOCOL`, `KAFKA_SASL_*`, `KAFKA_SSL_CA`."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    bootstrap: str = "127.0.0.1:9092"
    """Comma-separated host:port of some brokers."""
    security_protocol: str = "PLAINTEXT"
    """PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL."""
    sasl_mechanism: str | None = None
    """PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512."""
    sasl_username: str | None = None
    """The user, with SASL."""
    sasl_password: SecretStr | None = None
    """The user's password, with SASL."""
    ssl_ca: str | None = None
    """File of the certificates trusted for the brokers, with SSL."""

    @staticmethod
    def from_environment(environment: Mapping[str, str] = os.environ) -> "KafkaConnection":
        """The connection that `KAFKA_...` variables describe."""
        names = {name: f"KAFKA_{name.upper()}" for name in KafkaConnection.model_fields}
        return KafkaConnection.model_validate({k: environment[v] for k, v in names.items() if environment.get(v)})

    def settings(self) -> dict[str, str]:
        """The same as settings of librdkafka."""
        password = self.sasl_password.get_secret_value() if self.sasl_password else None
        named = {
            "bootstrap.servers": self.bootstrap,
            "security.protocol": self.security_protocol,
            "sasl.mechanism": self.sasl_mechanism,
            "sasl.username": self.sasl_username,
            "sasl.password": password,
            "ssl.ca.location": self.ssl_ca,
        }
        return {key: value for key, value in named.items() if value is not None}


class NatsConnection(BaseModel):
    """A NATS server with JetStream. `NATS_URL`, `NATS_CREDENTIALS`."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    url: str = "nats://127.0.0.1:4222"
    """The server's URL; tls:// for TLS."""
    credentials: str | None = None
    """File with the user's credentials."""

    @staticmethod
    def from_environment(environment: Mapping[str, str] = os.environ) -> "NatsConnection":
        """The connection that `NATS_...` variables describe."""
        names = {"url": "NATS_URL", "credentials": "NATS_CREDENTIALS"}
        return NatsConnection.model_validate({k: environment[v] for k, v in names.items() if environment.get(v)})
