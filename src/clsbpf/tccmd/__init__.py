"""tc's command language, without input or output: words to rtnetlink requests, replies to tc's text and JSON.

    argv ─▶ options ─▶ command ─▶ Request ─▶ (kernel or engine) ─▶ perform ─▶ Outcome
    batch file ─▶ batch ──┘ words        bytes                bytes     text, JSON, values

The judge is tc of iproute2 6.1: the same bytes for the same line, the same output for the same reply, the
same words and exit code for what is wrong.  Where tc is wrong about itself (arguments swapped, a cookie
that stays for the next action) it is followed, with a comment; the few places where it is not:

- a batch whose last line announces another is an error (tc drops the line and reports success);
- what selects one listing of a batch does not select, or forbid, the next;
- `help` only helps (tc goes on, and sends what it has);
- usage texts are our own;
- a program may have all 4096 instructions (tc's own buffer holds some 2040);
- JSON stays well formed when a dump breaks off, or a name has control characters.
"""
