"""The OpenAPI 3.1 document of the HTTP API, built from the validating schemas and the descriptions of the views."""

from crmgate.web.openapi.describe import Body, Describe, Example, ResponseDoc, description_of

__all__ = ["Body", "Describe", "Example", "ResponseDoc", "description_of"]
