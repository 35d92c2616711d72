"""The OpenAPI document is valid, complete, and says what the protos, the catalogue and the JSON mapping say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.api import annotations_pb2
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.rpc import error_details_pb2, status_pb2
from openapi_spec_validator import OpenAPIV31SpecValidator

from protos.openapi import errors
from protos.openapi.descriptors import Descriptors
from protos.openapi.document import document, render
from protos.openapi.examples import EXAMPLES
from protos.openapi.schemas import CONSTRAINTS
from services.kernel.errors import CATALOGUE, AssayError
from services.kernel.status import HTTP_STATUS, to_json, to_status

GENERATED = Path(__file__).resolve().parents[3] / "protos" / "gen"


@pytest.fixture(scope="module")
def files() -> descriptor_pb2.FileDescriptorSet:
    return descriptor_pb2.FileDescriptorSet.FromString((GENERATED / "assay.binpb").read_bytes())


@pytest.fixture(scope="module")
def openapi(files: descriptor_pb2.FileDescriptorSet) -> dict[str, Any]:
    return document(files)


def test_it_is_a_valid_openapi_3_1_document(openapi: dict[str, Any]) -> None:
    assert openapi["openapi"] == "3.1.0"
    OpenAPIV31SpecValidator(openapi).validate()


def test_the_committed_document_is_what_the_descriptors_say(files: descriptor_pb2.FileDescriptorSet) -> None:
    assert (GENERATED / "openapi.json").read_text(encoding="utf-8") == render(files)


def test_every_annotated_rpc_has_its_route(files: descriptor_pb2.FileDescriptorSet, openapi: dict[str, Any]) -> None:
    routes = {
        (verb, getattr(rule, verb)): method.name
        for file in files.file
        for service in file.service
        for method in service.method
        if method.options.HasExtension(annotations_pb2.http)
        for rule in [method.options.Extensions[annotations_pb2.http]]
        for verb in [str(rule.WhichOneof("pattern"))]
    }
    found = {
        (verb, path): item["operationId"] for path, verbs in openapi["paths"].items() for verb, item in verbs.items()
    }
    assert found.keys() == routes.keys()
    assert all(found[route].endswith(f"_{name}") for route, name in routes.items())
    assert len(set(found.values())) == len(found)


def test_every_operation_documents_every_error_of_the_catalogue(openapi: dict[str, Any]) -> None:
    expected = {str(HTTP_STATUS[spec.code]) for spec in CATALOGUE.values()} | {"200", "default"}
    for verbs in openapi["paths"].values():
        for operation in verbs.values():
            assert set(operation["responses"]) == expected


def test_every_reason_is_shown_in_both_languages_as_the_wire_has_it(
    files: descriptor_pb2.FileDescriptorSet, openapi: dict[str, Any]
) -> None:
    samples = errors.samples(Descriptors(files))
    for reason, spec in CATALOGUE.items():
        response = openapi["components"]["responses"][f"Error{HTTP_STATUS[spec.code]}"]
        examples = response["content"]["application/json"]["examples"]
        for language in ("en", "zh"):
            value = examples[f"{reason.name}.{language}"]["value"]
            assert value == to_json(to_status(AssayError(reason, **samples[reason]), language))
            assert "?" not in value["message"], f"the sample of {reason.name} lacks a metadata key"


def test_the_samples_fill_every_placeholder(files: descriptor_pb2.FileDescriptorSet) -> None:
    for reason, sample in errors.samples(Descriptors(files)).items():
        for language in ("en", "zh"):
            CATALOGUE[reason].english.format(**sample)
            CATALOGUE[reason].words(language, sample)


def test_the_schemas_of_errors_have_the_fields_of_their_messages() -> None:
    details = {
        "google.rpc.ErrorInfo": error_details_pb2.ErrorInfo,
        "google.rpc.LocalizedMessage": error_details_pb2.LocalizedMessage,
        "google.rpc.BadRequest": error_details_pb2.BadRequest,
        "google.rpc.RetryInfo": error_details_pb2.RetryInfo,
        "google.rpc.Status": status_pb2.Status,
    }
    schemas = errors.schemas()
    assert schemas.keys() == details.keys()
    for name, message in details.items():
        assert schemas[name]["properties"].keys() - {"@type"} == set(message.DESCRIPTOR.fields_by_name)


def test_every_schema_property_and_parameter_is_described(openapi: dict[str, Any]) -> None:
    for name, schema in openapi["components"]["schemas"].items():
        assert schema["description"], name
        if name.startswith("google."):
            continue
        for property_name, value in schema.get("properties", {}).items():
            assert value["description"], f"{name}.{property_name}"
    for path, verbs in openapi["paths"].items():
        for operation in verbs.values():
            assert all(p.get("description") or "$ref" in p for p in operation["parameters"]), path


def test_the_json_mapping_of_scalars(openapi: dict[str, Any]) -> None:
    schemas = openapi["components"]["schemas"]
    audit_input = schemas["audit.v1.AuditInput"]["properties"]
    assert audit_input["bytes"] == audit_input["bytes"] | {"type": "string", "format": "int64"}
    assert audit_input["text_hmac"] == audit_input["text_hmac"] | {"type": "string", "contentEncoding": "base64"}
    event = schemas["audit.v1.AuditEvent"]["properties"]
    assert event["create_time"]["format"] == "date-time"
    assert event["latency"]["pattern"].endswith("s$")
    assert "TASK_STATE_UNSPECIFIED" not in schemas["review.v1.TaskState"]["enum"]
    assert schemas["errors.v1.Error"]["properties"]["metadata"]["additionalProperties"] == {"type": "string"}
    assert schemas["ai.v1.TextRequest"]["required"] == ["text"]
    assert schemas["ai.v1.TextRequest"]["additionalProperties"] is False


def test_the_examples_are_messages_and_fit_their_schemas(
    files: descriptor_pb2.FileDescriptorSet, openapi: dict[str, Any]
) -> None:
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)  # type: ignore[no-untyped-call]
    validator = _SchemaValidator(openapi)
    for name, shown in EXAMPLES.items():
        message = message_factory.GetMessageClass(pool.FindMessageTypeByName(name))
        for _, value in shown.values():
            json_format.ParseDict(value, message())
            validator.check(name.removeprefix("assay."), value)


def test_the_error_examples_fit_their_schema(openapi: dict[str, Any]) -> None:
    validator = _SchemaValidator(openapi)
    for response in openapi["components"]["responses"].values():
        for example in response["content"]["application/json"].get("examples", {}).values():
            validator.check("google.rpc.Status", example["value"])


def test_a_wrong_value_does_not_fit(openapi: dict[str, Any]) -> None:
    validator = _SchemaValidator(openapi)
    for wrong in ({}, {"text": " "}, {"text": "a", "colour": "red"}, {"text": "a", "model_version": "latest"}):
        with pytest.raises(AssertionError):
            validator.check("ai.v1.TextRequest", wrong)


def test_every_constraint_names_a_field(files: descriptor_pb2.FileDescriptorSet) -> None:
    assert set(CONSTRAINTS) <= set(_field_names(Descriptors(files)))


def _field_names(descriptors: Descriptors) -> Iterator[str]:
    for name, message in descriptors.messages.items():
        yield from (f"{name}.{field.name}" for field in message.fields)


class _SchemaValidator:
    """Checks values against a component, with references resolved inside the document."""

    def __init__(self, openapi: dict[str, Any]) -> None:
        from jsonschema import Draft202012Validator
        from referencing import Registry, Resource
        from referencing.jsonschema import DRAFT202012

        resource = Resource.from_contents(json.loads(json.dumps(openapi)), default_specification=DRAFT202012)
        self._registry = Registry().with_resource("urn:assay", resource)
        self._validator = Draft202012Validator

    def check(self, component: str, value: Any) -> None:
        schema = {"$ref": f"urn:assay#/components/schemas/{component}"}
        found = [error.message for error in self._validator(schema, registry=self._registry).iter_errors(value)]
        assert not found, found


def test_the_errors_page_lists_every_reason_as_the_catalogue_has_it(files: descriptor_pb2.FileDescriptorSet) -> None:
    page = (GENERATED.parents[1] / "docs" / "errors.md").read_text(encoding="utf-8")
    assert page.endswith(errors.reason_table(Descriptors(files)))
