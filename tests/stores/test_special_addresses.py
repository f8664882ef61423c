"""Addresses that no record may lead to, and what a proxy changes about that."""

import ipaddress
import socket

import pytest

from atdata_core.errors import NetworkSettingsError, PrivateAddressError, ServiceUnavailableError, StorageError
from atdata_core.stores.private_addresses import check_public

# The first and last address of each block that IANA lists as special, and what clouds keep for themselves.
BLOCKS = [
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
    *("192.0.0.0/24", "192.0.0.9/32", "192.0.0.170/31", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24"),
    *("192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24"),
    *("203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "255.255.255.255/32", "168.63.129.16/32"),
    *("::/128", "::1/128", "::/96", "64:ff9b:1::/48", "100::/64", "100:0:0:1::/64", "2001::/23", "2001::/32"),
    *("2001:1::1/128", "2001:2::/48", "2001:3::/32", "2001:4:112::/48", "2001:10::/28", "2001:20::/28"),
    *("2001:30::/28", "2001:db8::/32", "2620:4f:8000::/48", "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10"),
    *("fec0::/10", "ff00::/8"),
]
PUBLIC = (
    "8.8.8.8",
    "192.0.1.1",
    "168.63.129.15",
    "168.63.129.17",
    "99.255.255.255",
    "100.128.0.1",
    "223.255.255.1",
)
PUBLIC_IPV6 = ("2001:4860:4860::8888", "2606:4700::1111", "2620:4f:7fff::1", "2a00:1450::1", "3ffe:ffff::1")


def url_of(address: object) -> str:
    return f"http://[{address}]/a" if ":" in str(address) else f"http://{address}/a"


@pytest.mark.parametrize("block", BLOCKS)
def test_the_first_and_last_address_of_a_special_block_are_refused(block: str):
    network = ipaddress.ip_network(block)
    for address in (network[0], network[-1]):
        with pytest.raises(PrivateAddressError):
            check_public(url_of(address))


@pytest.mark.parametrize("address", ["192.0.0.192", "168.63.129.16", "169.254.169.254", "192.31.196.1", "10.0.0.1"])
@pytest.mark.parametrize("form", ["::ffff:{}", "64:ff9b::{}", "2002:{}::1"])
def test_a_special_address_within_one_of_ipv6_is_refused(address: str, form: str):
    packed = ipaddress.IPv4Address(address).packed.hex()
    with pytest.raises(PrivateAddressError):
        check_public(url_of(form.format(f"{packed[:4]}:{packed[4:]}")))


@pytest.mark.parametrize(
    "address", [*PUBLIC, *PUBLIC_IPV6, "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1"]
)
def test_what_lies_beside_a_special_block_is_public(address: str):
    assert check_public(url_of(address)) is None


@pytest.fixture
def only_the_proxy_resolves(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo

    def numbers_only(host: str, *given: object, **named: object) -> object:
        if not host[-1:].isdigit() and ":" not in host:
            raise socket.gaierror("no such name")
        return real(host, *given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", numbers_only)
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")


def test_a_name_that_only_the_proxy_resolves_is_left_to_it(only_the_proxy_resolves: None, monkeypatch):
    assert check_public("https://data.example/a.tar") is None
    # Not by the proxy: this machine would have to know it.
    for direct in ("http://data.example/a.tar", "https://localhost/a.tar", "https://a.localhost./a.tar"):
        with pytest.raises(ServiceUnavailableError):
            check_public(direct)
    monkeypatch.setenv("NO_PROXY", "data.example")
    with pytest.raises(ServiceUnavailableError):
        check_public("https://data.example/a.tar")


@pytest.mark.parametrize("host", ["10.0.0.1", "2130706433", "0x7f.1", "169.254.169.254.", "[::1]", "[fec0::1]"])
def test_a_private_address_that_is_written_out_stays_refused_behind_a_proxy(
    only_the_proxy_resolves: None, host: str
):
    with pytest.raises(PrivateAddressError):
        check_public(f"https://{host}/a.tar")


@pytest.mark.parametrize(
    "host",
    ["[::1%25lo]", "[fe80::1%25eth0]", "[::1%lo0]", "127.0.0.1%00", "127%2e0.0.1", "127.0.0.1%0d", "127。0.0.1!"],
)
def test_an_address_in_a_form_that_only_a_proxy_might_understand_is_not_left_to_it(
    only_the_proxy_resolves: None, host: str
):
    with pytest.raises((PrivateAddressError, ServiceUnavailableError, StorageError)):
        check_public(f"https://{host}/a.tar")


@pytest.mark.parametrize("host", ["daten_1.example", "xn--bcher-kva.example", "bücher.example", "a-b.example."])
def test_a_name_in_any_form_is_left_to_the_proxy(only_the_proxy_resolves: None, host: str):
    assert check_public(f"https://{host}/a.tar") is None


def test_a_name_that_this_machine_knows_for_a_private_one_is_refused_behind_a_proxy(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    with pytest.raises(PrivateAddressError):
        check_public("https://localhost/a.tar")


def test_a_proxy_that_is_none_is_an_error_of_ours(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://[::1")
    with pytest.raises(NetworkSettingsError, match="HTTPS_PROXY"):
        check_public("https://data.example/a.tar")
