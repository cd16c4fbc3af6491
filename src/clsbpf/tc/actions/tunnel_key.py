"""tunnel_key: what a tunnel device is to wrap the packet in, or that it no longer is.

The packet carries it as metadata (`Skb.tunnel`), for the device that mirred sends it to and for programs
that ask (bpf_skb_get_tunnel_key).

Mirrors net/sched/act_tunnel_key.c and struct ip_tunnel_info of include/net/ip_tunnels.h.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ...skb import Skb
from ..result import ClassifyResult
from .action import Action

INFO_TX = 1
INFO_IPV6 = 2
CSUM, KEY, DONT_FRAGMENT, NOCACHE = 1 << 0, 1 << 2, 1 << 8, 1 << 13
"""IP_TUNNEL_*_BIT."""

_INFO = struct.Struct("=IIQ16s16sIBB2xI4x")
"""The image in `Skb.tunnel`: mode, flags, id, source, destination, label, tos, ttl, length of the options."""
_IMAGE_BYTES = 320


@dataclass(frozen=True, slots=True)
class Tunnel:
    """struct ip_tunnel_info with its struct ip_tunnel_key; addresses of 4 or 16 bytes.

    `options` are what the tunnel's header has (struct geneve_opt, …), `options_flag` is their
    IP_TUNNEL_*_OPT_BIT, `told` the same as the request had it (TCA_TUNNEL_KEY_ENC_OPTS).
    """

    src: bytes
    dst: bytes
    key_id: int | None = None
    dst_port: int = 0
    tos: int = 0
    ttl: int = 0
    checksum: bool = True
    no_fragment: bool = False
    options: bytes = b""
    options_flag: int = 0
    told: bytes = b""

    @property
    def image(self) -> bytes:
        """What `Skb.tunnel` holds.  The image has no place for the port."""
        flags = NOCACHE | self.options_flag
        flags |= KEY if self.key_id is not None else 0
        flags |= CSUM if self.checksum else 0
        flags |= DONT_FRAGMENT if self.no_fragment else 0
        mode = INFO_TX | (INFO_IPV6 if len(self.src) == 16 else 0)
        info = _INFO.pack(
            mode,
            flags,
            self.key_id or 0,
            self.src,
            self.dst,
            0,
            self.tos,
            self.ttl,
            len(self.options),
        )
        return (info + self.options).ljust(_IMAGE_BYTES, b"\0")


@dataclass(frozen=True, slots=True)
class TunnelKeyParams:
    """struct tcf_tunnel_key_params: what to set; None unsets."""

    tunnel: Tunnel | None


class TunnelKey(Action[TunnelKeyParams]):
    """struct tcf_tunnel_key."""

    kind = "tunnel_key"

    def act(self, skb: Skb, result: ClassifyResult) -> int:
        """tunnel_key_act()."""
        self.used(skb)
        tunnel = self.params.tunnel
        skb.tunnel = tunnel.image if tunnel is not None else None
        return self.control
