"""The pipeline and the stage of new deals."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from crmgate.errors import Code
from crmgate.provider import lost

from .api import BitrixApi
from .fields import FRESH, unless_away
from .values import DEALS, Row


class BitrixPipeline:
    """BITRIX_DEAL_CATEGORY and BITRIX_DEAL_STAGE, compared with the portal every `FRESH` seconds."""

    def __init__(self, api: BitrixApi, settings: Mapping[str, Any]) -> None:
        self._api = api
        self._category: int | None = settings["BITRIX_DEAL_CATEGORY"]
        self._stage: str | None = settings["BITRIX_DEAL_STAGE"]
        self._read_at = float("-inf")
        self._missing: set[str] = set()

    def usable(self) -> Row:
        """Fields of a new deal, without a pipeline or a stage that the portal lacks: it would refuse the deal.

        Raises `ProviderError` if the portal is not reachable. If it refuses the lists, the settings are sent unchanged.
        """
        if time.monotonic() - self._read_at > FRESH:
            with unless_away():
                self._missing = {*self.problems()}
            self._read_at = time.monotonic()
        return {name: value for name, value in self._configured().items() if name not in self._missing}

    def problems(self) -> dict[str, str]:
        """By field: what the portal lacks, and the remedy. Raises `ProviderError`."""
        if not self._configured():
            return {}
        categories = self._categories()
        if self._category is not None and self._category not in categories:
            # Each stage is that of one pipeline.
            return dict.fromkeys(self._configured(), self._no_category(categories))
        stages = self._stages() if self._stage else []
        return {"stageId": self._no_stage(stages)} if self._stage and self._stage not in stages else {}

    def _no_category(self, categories: Mapping[int, str]) -> str:
        shown = ", ".join(f"{number} is {name}" for number, name in categories.items())
        return (
            f"the webhook's user sees no pipeline {self._category} of deals, so new deals get the default one:"
            f" change BITRIX_DEAL_CATEGORY ({shown}), or let the user see it"
        )

    def _no_stage(self, stages: Sequence[str]) -> str:
        return (
            f"the pipeline has no stage {self._stage}, so new deals get its first one:"
            f" change BITRIX_DEAL_STAGE ({', '.join(stages)})"
        )

    def _configured(self) -> Row:
        fields = {"categoryId": self._category, "stageId": self._stage}
        return {name: value for name, value in fields.items() if value is not None}

    def _categories(self) -> dict[int, str]:
        """Pipelines of deals by id. Raises `ProviderError`."""
        answer = self._api.call("crm.category.list", {"entityTypeId": DEALS.type_id}, safe=True)["result"]
        match answer:
            case {"categories": list(rows)}:
                named = [(str(row.get("id")), str(row.get("name"))) for row in rows if isinstance(row, dict)]
                return {int(number): name for number, name in named if number.isdecimal()}
        raise lost(True, Code.INVALID_RESPONSE, "the answer is no list of pipelines")

    def _stages(self) -> list[str]:
        """Stages of the pipeline. Raises `ProviderError`."""
        entity = f"DEAL_STAGE_{self._category}" if self._category else "DEAL_STAGE"
        rows = self._api.rows("crm.status.list", {"filter": {"ENTITY_ID": entity}})
        return [str(row.get("STATUS_ID")) for row in rows]
