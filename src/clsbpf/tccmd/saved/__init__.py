"""What there is, as what would make it: the replies of a dump become requests, and requests tc's words.

    dump ─▶ message ─ requests ─▶ request ─ words ─▶ a line for tc -batch

A dump says more than a request may (counters, times, who holds what), and here and there less; `requests`
knows what of it makes the same again.  `words` says a request in tc's language, and looks whether tc would
read the very same request there; what tc's language has no words for has none.
"""
