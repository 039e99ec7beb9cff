"""Files that websites load from the gateway. `tests/browser` tests them in a browser."""

from __future__ import annotations

from pathlib import Path

import pytest

from crmgate import create_app
from crmgate.config import Settings

ROOT = Path(__file__).parent.parent.parent
SCRIPT = ROOT / "crmgate" / "web" / "static" / "crmgate.js"
SETTINGS = {"CRM_PROVIDER": "sandbox", "SANDBOX_URL": "http://127.0.0.1:8001", "SANDBOX_KEY": "k"}


def test_the_script_stays_small() -> None:
    assert SCRIPT.stat().st_size < 5_750


def test_the_script_is_served_for_an_hour() -> None:
    client = create_app(Settings.load(SETTINGS)).test_client()
    response = client.get("/static/crmgate.js")
    assert response.status_code == 200
    assert response.get_data() == SCRIPT.read_bytes()
    assert "javascript" in response.content_type
    assert response.cache_control.max_age == 3600
    etag = response.headers["ETag"]
    response.close()
    with client.get("/static/crmgate.js", headers={"If-None-Match": etag}) as again:
        assert again.status_code == 304


@pytest.mark.parametrize(("demo", "status"), [(False, 404), (True, 200)])
def test_the_demo_page_is_for_development_only(demo: bool, status: int) -> None:
    client = create_app(Settings.load(SETTINGS), demo=demo).test_client()
    response = client.get("/demo")
    assert response.status_code == status
    if demo:
        assert 'href="http://127.0.0.1:8001"' in response.text
        assert "unsafe" not in response.headers["Content-Security-Policy"]
        assert "style=" not in response.text
    with client.get("/demo/static/demo.js") as script:
        assert script.status_code == status
