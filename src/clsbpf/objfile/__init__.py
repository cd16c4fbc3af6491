"""ELF objects with BPF programs: what is in them, as specs that say nothing of where they will run."""

from .btf import Btf, TypeRef
from .files import machine_btf, read_btf, read_object
from .load import load_object

__all__ = ["Btf", "TypeRef", "load_object", "machine_btf", "read_btf", "read_object"]
