"""The body of an application for the peers with marshmallow."""

from typing import Any

from flask import request
from marshmallow import EXCLUDE, Schema, fields, validate


class Person(Schema):
    """A person with an email."""

    class Meta:
        unknown = EXCLUDE

    first_name = fields.String(required=True, validate=validate.Length(1, 100))
    last_name = fields.String(required=True, validate=validate.Length(1, 100))
    email = fields.Email(required=True)


class Application(Schema):
    """What the form sends."""

    class Meta:
        unknown = EXCLUDE

    personal_info = fields.Nested(Person, required=True)
    source = fields.String(load_default="website")


application = Application()


def read() -> dict[str, Any]:
    """The application in the request."""
    data: dict[str, Any] = application.load(request.get_json())
    return data
