"""Which way a run goes, decided from settings, environment and netrc."""

import pytest

from saeuniv.config import TrackingMode
from saeuniv.tracking.mode import has_api_key, way


def test_auto_is_offline_without_a_key_and_online_with_one(monkeypatch):
    assert way(TrackingMode.auto) == "offline"
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    assert way(TrackingMode.auto) == "online"


@pytest.mark.parametrize(
    ("named", "expected"), [("offline", "offline"), ("ONLINE", "online"), ("disabled", "off")]
)
def test_auto_follows_the_mode_of_the_environment(monkeypatch, named, expected):
    monkeypatch.setenv("WANDB_MODE", named)
    assert way(TrackingMode.auto) == expected


@pytest.mark.parametrize("mode", [TrackingMode.offline, TrackingMode.online, TrackingMode.off])
def test_an_explicit_mode_is_not_overruled(monkeypatch, mode):
    monkeypatch.setenv("WANDB_MODE", "online" if mode is TrackingMode.off else "disabled")
    assert way(mode) == mode.value


def test_a_key_in_netrc_counts_for_its_own_host_only(home, monkeypatch):
    (home / ".netrc").write_text("machine api.wandb.ai login user password " + "0" * 40 + "\n")
    (home / ".netrc").chmod(0o600)
    assert has_api_key()
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert not has_api_key()


def test_a_malformed_netrc_is_no_key(home, monkeypatch):
    (home / "broken").write_text("machine")
    monkeypatch.setenv("NETRC", str(home / "broken"))
    assert not has_api_key()
