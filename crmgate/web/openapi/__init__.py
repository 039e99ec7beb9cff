"""The description of the HTTP API in OpenAPI 3.1, made from the schemas that validate and the words at each view."""

from crmgate.web.openapi.describe import Answer, Body, Describe, Example, description_of

__all__ = ["Answer", "Body", "Describe", "Example", "description_of"]
