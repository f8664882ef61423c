"""Proxies and certificates that the environment names."""

import os
import re
from pathlib import Path

import pytest

from atdata_core.common.network_settings import proxy_of, tls_context
from atdata_core.errors import NetworkSettingsError


@pytest.mark.parametrize(
    ("exempt", "direct"),
    [
        ("::1", ["http://[::1]:9/"]),
        ("[::1]:9", ["http://[::1]:9/"]),
        ("fd00::/8, 10.0.0.0/8", ["http://[fd12::1]/", "http://10.1.2.3/"]),
        (".example.org", ["http://a.example.org/", "http://example.org/", "http://A.example.org./"]),
        ("*.example.org", ["http://a.example.org/"]),
        ("http://example.org:81", ["http://example.org:81/"]),
        ("example.org localhost", ["http://localhost:9/", "http://example.org/"]),
        ("[::1, :::, a:b:c, ://", []),
        ("a,*", ["http://[fe80::1]/", "http://any.example/"]),
    ],
)
def test_no_proxy_lists_names_addresses_and_networks_of_both_kinds(monkeypatch, exempt: str, direct: list[str]):
    monkeypatch.setenv("ALL_PROXY", "proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", exempt)
    assert [url for url in direct if proxy_of(url) is not None] == []
    if "*" not in exempt.split(","):
        for other in ("http://wwwexample.org/", "http://[2001:db8::1]/", "http://11.0.0.1/"):
            assert proxy_of(other) == "http://proxy.example:3128"


@pytest.mark.parametrize(
    "given",
    ["http://", "http://[::1", "http://proxy:port", "http://a b:1", "ftp://proxy:21", "http://p:99999", ":8"],
)
def test_a_variable_that_names_no_proxy_is_refused_by_its_name_and_not_shown(monkeypatch, given: str):
    monkeypatch.setenv("https_proxy", given)
    with pytest.raises(NetworkSettingsError, match="HTTPS_PROXY is no proxy that can be used") as refusal:
        proxy_of("https://data.example/")
    assert given not in refusal.value.message.replace("http://proxy.example.org", "")


def test_a_socks_proxy_without_its_package_is_refused_with_the_way_out(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    monkeypatch.setenv("ALL_PROXY", "socks5://me:secret@127.0.0.1:1080")
    with pytest.raises(NetworkSettingsError, match=r"ALL_PROXY .*httpx\[socks\].*NO_PROXY") as refusal:
        proxy_of("https://data.example/")
    assert "secret" not in refusal.value.message
    assert proxy_of("https://data.example/", any_scheme=False) is None


def test_folders_of_certificates_that_hold_none_are_named(monkeypatch, tmp_path: Path):
    for folders in (str(tmp_path / "none"), str(tmp_path), f"{tmp_path}{os.pathsep}{tmp_path / 'none'}"):
        monkeypatch.setenv("SSL_CERT_DIR", folders)
        with pytest.raises(NetworkSettingsError, match=f"SSL_CERT_DIR names {re.escape(folders)}.*openssl rehash"):
            tls_context()


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_certificates_that_cannot_be_read_are_named_with_their_variable(monkeypatch, tmp_path: Path, variable: str):
    monkeypatch.delenv("SSL_CERT_DIR")
    (tmp_path / "empty.pem").write_text("")
    (tmp_path / "text.pem").write_text("no certificate")
    for name, reason in (("none.pem", "cannot be read"), ("empty.pem", "PEM"), ("text.pem", "PEM")):
        monkeypatch.setenv(variable, str(tmp_path / name))
        with pytest.raises(NetworkSettingsError, match=rf"{variable} names .*{name}, which .*{reason}"):
            tls_context()
