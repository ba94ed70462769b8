"""Which names and addresses mean this machine alone."""

import ipaddress
import re

# An address or a name, and perhaps a port. In brackets only what an IPv6 address is written with, so no zone ("%lo").
_HOST = re.compile(r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<name>[^\[\]:]+))(?::(?P<port>[0-9]{1,5}))?")


def is_loopback(host: str) -> bool:
    """Whether this is `localhost` or an address of the loopback interface.

    Every other name may mean any machine, whatever it begins with: its owner's DNS decides.
    Short, decimal, octal and hexadecimal spellings of addresses are names too.
    """
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host.removeprefix("[").removesuffix("]") if ":" in host else host)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            return False
        address = address.ipv4_mapped or address  # how a dual-stack socket names an IPv4 peer
    return address.is_loopback


def host_of(header: str) -> tuple[str, int | None] | None:
    """Return the host (in lower case, IPv6 without brackets) and port of a Host header; None where it is malformed."""
    found = _HOST.fullmatch(header)
    if found is None:
        return None
    port = int(found["port"]) if found["port"] else None
    if port is not None and port > 65535:
        return None
    return (found["ipv6"] or found["name"]).lower(), port


def network_of(address: str) -> str:
    """Return what counts as one place in the network: an IPv4 address, or the /64 of an IPv6 address."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((int(parsed) >> 64 << 64, 64)))
    return str(parsed)
