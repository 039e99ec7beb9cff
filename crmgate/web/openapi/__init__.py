"""The description of the HTTP API in OpenAPI 3.1, made from the schemas that validate and the words at each view."""

from crmgate.web.openapi.describe import Body, Describe, Example, ResponseDoc, description_of

__all__ = ["Body", "Describe", "Example", "ResponseDoc", "description_of"]
