"""The wire: netlink messages and attributes, as bytes and as values.  Nothing here opens a socket.

- `attr`: one attribute (struct nlattr) and streams of them, both ways
- `policy`: what the kernel demands of the attributes of a request (struct nla_policy)
- `message`: struct nlmsghdr, errors and acknowledgements with their extended part
- `tcmsg`: struct tcmsg, the header of every traffic-control message
- `schema`: the numbers and names of traffic control's attributes, values both ways
"""
