"""The qdiscs at the root of a device and below: what a packet meets on its way out, after clsact.

- `qdisc`: what every qdisc has; size tables
- `table`: where a device finds its qdiscs again, and in which order it shows them
- `fifo`: qdiscs without classes: pfifo, bfifo, pfifo_head_drop, pfifo_fast, noqueue
- `class_hash`: in which order a qdisc shows its classes
- `htb`: a tree of classes that share a rate
- `prio`: bands, by the packet's priority or by filters
- `tbf`: a rate for all packets
- `codel`: codel and fq_codel, which drop what has waited too long
- `flows`: what fq_codel and sfq have in common; `sfq`
- `passage`: one packet's way through them

Packets are counted where the kernel counts them, but nothing waits: a qdisc here is always empty
when a packet comes, and the packet is sent at once.
"""
