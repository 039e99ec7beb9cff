"""Contact Form 7, through a plugin such as "CF7 to Webhook": JSON or a form by the names in the form's template.

https://wordpress.org/plugins/cf7-to-zapier/. A choice is a list. Names that begin with `_` are WordPress's own.
"""

from __future__ import annotations

from crmgate.sources.answers import collected, flat
from crmgate.sources.model import Parsed, Received, SourceRequest

_TECHNICAL = ("g-recaptcha-response", "h-captcha-response", "cf-turnstile-response", "action")


def parse(request: SourceRequest) -> Parsed:
    """Read one submission."""
    data = request.mapping()
    own = {name: value for name, value in data.items() if not name.startswith("_") and name not in _TECHNICAL}
    return [Received(collected(flat(own)))]
