"""`crmgate reconcile` against a fake EspoCRM: what it prints, what it asks, and its exit status."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from crmgate.model import Operation, State
from crmgate.store import keys
from crmgate.store.keys import op
from crmgate.testing.espocrm import FakeEspoCRM
from tests.cli.conftest import Run, output_of
from tests.plugins.test_reconcile import Site, espo
from tests.processes import RedisProcess


@pytest.fixture
def site(redis_client: redis.Redis) -> Iterator[Site]:
    """Two hours ago three applications were delivered."""
    fake, connect = espo()
    with fake:
        site = Site(fake, connect(), redis_client)
        yield site


@pytest.fixture
def applied(site: Site) -> list[Operation]:
    now = site.world.redis.time()[0] - 7200  # type: ignore[index]
    site.world.now = float(now)
    made = [site.world.apply(number, inline=True) for number in range(1, 4)]
    assert site.world.states(made) == {State.DELIVERED}
    return made


@pytest.fixture
def configured(run: Run, site: Site, redis_process: RedisProcess) -> dict[str, str]:
    assert isinstance(site.fake, FakeEspoCRM)
    return {
        "CRM_PROVIDER": "espocrm", "ESPOCRM_URL": site.fake.url, "ESPOCRM_API_KEY": "KEY-GATEWAY",
        "REDIS_URL": redis_process.url,
    }  # fmt: skip


def test_nothing_is_missing(run: Run, configured: dict[str, str], applied: list[Operation]) -> None:
    result = run("reconcile", "--since", "1d", **configured)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("3 accepted since ")
    assert result.stdout.endswith(" = 3 in the CRM\n")


def test_a_gap_is_named_with_what_an_operator_needs(
    run: Run, configured: dict[str, str], site: Site, applied: list[Operation]
) -> None:
    lost, record = applied[1], site.record(applied[1])
    site.delete(record)
    result = run("reconcile", **configured)
    assert result.exit_code == 1
    assert "= 2 in the CRM + 1 missing in the CRM" in result.stdout
    assert "Staff may have deleted a record, or merged it" in result.stdout
    line = result.stdout.splitlines()[-1]
    for fact in (lost.tracking_code, lost.id, "create_lead", "espocrm", record, f"{site.fake.url}/#Lead/view/{record}"):
        assert fact in line
    as_json = output_of(run("reconcile", "--json", **configured))
    assert (as_json["accepted"], as_json["in_crm"], as_json["missing"], as_json["repaired"]) == (3, 2, 1, 0)
    [gap] = as_json["gaps"]
    assert (gap["id"], gap["lead_id"], gap["repairable"]) == (lost.id, record, True)


class TestRepair:
    @pytest.fixture
    def lost(self, site: Site, applied: list[Operation]) -> list[Operation]:
        for operation in applied[:2]:
            site.delete(site.record(operation))
        return applied[:2]

    def test_asks_and_a_no_changes_nothing(
        self, run: Run, configured: dict[str, str], site: Site, lost: list[Operation]
    ) -> None:
        result = run("reconcile", "--repair", stdin="n\n", **configured)
        assert (result.exit_code, "Send 2 operations again?" in result.stderr) == (1, True)
        assert site.world.states(lost) == {State.DELIVERED}
        assert output_of(run("reconcile", "--repair", "--json", **configured))["missing"] == 2
        assert site.world.states(lost) == {State.DELIVERED}

    def test_sends_again_what_is_missing(
        self, run: Run, configured: dict[str, str], site: Site, lost: list[Operation]
    ) -> None:
        result = run("reconcile", "--repair", stdin="y\n", **configured)
        assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, "2 operations wait for the CRM again.")
        assert site.world.states(lost) == {State.WAITING}
        site.world.now = float(site.world.redis.time()[0])  # type: ignore[index]
        site.world.pass_time(30)
        assert site.world.states(lost) == {State.DELIVERED}
        assert run("reconcile", **configured).exit_code == 0

    def test_can_be_about_one_operation(
        self, run: Run, configured: dict[str, str], site: Site, lost: list[Operation]
    ) -> None:
        result = run("reconcile", "--repair", "--yes", "--only", lost[1].tracking_code, **configured)
        assert result.exit_code == 1, "one is still missing"
        assert [site.world.stored(operation).state for operation in lost] == [State.DELIVERED, State.WAITING]
        other = run("reconcile", "--repair", "--yes", "--only", "CG-0000-0000", **configured)
        assert (other.exit_code, "not missing in the CRM: CG-0000-0000" in other.stderr) == (2, True)

    def test_names_what_cannot_be_repaired(
        self, run: Run, configured: dict[str, str], site: Site, lost: list[Operation]
    ) -> None:
        site.world.redis.delete(keys.kept(lost[0].id))
        result = run("reconcile", "--repair", "--yes", **configured)
        assert result.exit_code == 1
        assert "no: not repairable" in result.stdout
        assert "1 cannot be repaired: their data are no longer kept (PAYLOAD_KEEP)." in result.stderr
        assert [site.world.stored(operation).state for operation in lost] == [State.DELIVERED, State.WAITING]


@pytest.mark.parametrize("arguments", [("--only", "x"), ("--yes",), ("--since", "soon")])
def test_options_that_mean_nothing_are_refused(
    run: Run, configured: dict[str, str], arguments: tuple[str, ...]
) -> None:
    result = run("reconcile", *arguments, **configured)
    assert (result.exit_code, result.stdout) == (2, "")


def test_a_crm_that_is_paused_is_not_asked(
    run: Run, configured: dict[str, str], site: Site, applied: list[Operation]
) -> None:
    assert run("crm", "pause", **configured).exit_code == 0
    result = run("reconcile", **configured)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "nothing is sent to espocrm now (paused): see `crmgate crm test`" in result.stderr


def test_a_crm_that_refuses_the_key_is_no_gap(
    run: Run, configured: dict[str, str], site: Site, applied: list[Operation]
) -> None:
    site.fake.fail("answer", status=401)
    result = run("reconcile", **configured)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "the CRM could not be searched" in result.stderr
    assert site.world.redis.exists(op(applied[0].id))
