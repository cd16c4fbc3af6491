"""Maps: what programs remember, in native memory.  `map.py` has the model; start there."""
