"""Mail: sends each submission to a mailbox by SMTP (RFC 5321), as plain text and as HTML.

A mailbox cannot be searched and does not recognize a repetition. So a mail is sent at most once: if the connection is
lost after the content was sent, the operation is a dead letter, and a person looks into the mailbox. The `Message-ID`
holds the operation id, and the subject the tracking code.

`Mail` (`provider`) has the hooks and writes the mails; `session` speaks SMTP and knows what its replies mean.
"""

from __future__ import annotations

from .provider import Mail

__all__ = ["Mail"]
