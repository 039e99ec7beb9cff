"""A CRM that answers as a real account did, from a recording of `crmgate plugins try --record`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from crmgate.plugin_host.caller import HookCaller, hook_manager
from crmgate.plugin_host.loader import discover, plugin_name
from crmgate.plugin_host.trial.data import NO_RUN, TrialData
from crmgate.plugin_host.trial.exchanges import Content, Exchange, over_texts
from crmgate.plugin_host.trial.masking import HOST, ORIGIN
from crmgate.plugin_host.trial.recording import Recording
from crmgate.plugin_host.trial.steps import Trial, TrialStep
from crmgate.provider import CRMProvider
from crmgate.testing.server import FakeCRM, Request, Response

BUDGET = 10.0
"""Seconds for the requests of one hook."""


class ReplayedCRM(FakeCRM):
    """Answers each request as the recorded account did. A request that was not recorded is answered with 501.

    A recorded request is answered once, in the order of the recording. It is found by method, path, query and body;
    moments, random UUIDs and credentials may differ. `folder` has the recording. Raises `UnusableRecording`.
    """

    def __init__(self, folder: Path | str) -> None:
        super().__init__()
        self.recording = Recording.read(Path(folder))
        self.sample = TrialData(NO_RUN, self.recording.at)
        """The test data in the recording: the leads and the operations that the plugin is called with."""
        self.unused = [one for exchanges in self.recording.exchanges.values() for one in exchanges]
        """The recorded requests that were not sent yet."""
        self.strange = list[str]()
        """A sentence for each request that was not recorded."""

    @property
    def settings(self) -> dict[str, str]:
        """Settings with which the plugin reaches this CRM. Secrets have stand-ins of the same form."""
        return {name: self._here(value) for name, value in self.recording.settings.items()}

    def records(self) -> dict[str, list[dict[str, Any]]]:
        """None: a recording stores nothing."""
        return {}

    def repeat(self, plugin: Path | str | type[CRMProvider], **settings: str) -> list[TrialStep]:
        """Run the steps of the trial with a plugin, its file or its class, and return their results.

        `settings` replace stand-ins that the plugin does not accept. Raises `AssertionError` if a step has another
        result than in the recording, or if another request is sent.
        """
        provider = self._class(plugin)(
            self.settings | settings, timeout=BUDGET, **dict[str, Any](self.recording.policies)
        )
        trial = Trial(HookCaller(hook_manager(), provider), self.sample, budget=BUDGET, sleep=lambda _seconds: None)
        steps = list(trial.run())
        problems = self.strange + [
            f"{step.name}: {step.detail}" for step in steps if self.recording.results.get(step.name) is not step.ok
        ]
        problems += [f"the plugin no longer sends {one.method} {one.path}" for one in self.unused]
        assert not problems, "\n".join(["the plugin differs from the recording:", *problems])
        return steps

    def _class(self, plugin: Path | str | type[CRMProvider]) -> type[CRMProvider]:
        if isinstance(plugin, type):
            return plugin
        path = Path(plugin).resolve()
        found = discover(path.parent, (plugin_name(path),))
        for problem in found.quarantined:
            if problem.file == str(path):
                raise problem
        return found.providers[self.recording.plugin]

    def answer(self, request: Request) -> Response:
        """The recorded answer to a request."""
        sent = self._sent(request)
        with self.lock:
            match = next((one for one in self.unused if one.key() == sent.key()), None)
            if match is None:
                self.strange.append(self._strange(sent))
                return Response(501, "this request is not in the recording", content_type="text/plain")
            self.unused.remove(match)
        if match.status is None:
            raise ConnectionError("the recorded account did not answer")
        headers = {name: self._here(value) for name, value in match.answer_headers.items()}
        media = next((headers.pop(name) for name in list(headers) if name.lower() == "content-type"), "")
        body = self._here(match.answer.written().decode("utf-8", "surrogateescape")) if match.answer else ""
        return Response(match.status, body.encode("utf-8", "surrogateescape"), headers, media)

    def _sent(self, request: Request) -> Exchange:
        """The request with the address of the recording."""
        query = [[name, value] for name, value in parse_qsl(request.query, keep_blank_values=True)]
        body = Content.read(request.body, request.header("Content-Type"))
        return Exchange(request.method, request.path, query, body=body).mapped(
            self._there, partial(over_texts, self._there)
        )

    def _here(self, text: str) -> str:
        """A recorded text with the address of this server."""
        return text.replace(ORIGIN, self.url).replace(HOST, f"{self.host}:{self.port}")

    def _there(self, text: str) -> str:
        """A text of a request with the address of the recording."""
        return text.replace(self.url, ORIGIN).replace(f"{self.host}:{self.port}", HOST)

    def _strange(self, sent: Exchange) -> str:
        """What is new about a request, beside the nearest recorded one."""
        near = next((one for one in self.unused if (one.method, one.path) == (sent.method, sent.path)), None)
        what = f"{sent.method} {sent.path} is not in the recording"
        return f"{what}: {sent.key()} instead of {near.key()}" if near else what
