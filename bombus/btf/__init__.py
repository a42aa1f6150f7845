"""BTF: types, their wire format, and what is made of them.

types, codec, parse, query, build    the model, raw bytes to types on demand, types to raw bytes
ext                                  .BTF.ext records
core, corespec, corematch            CO-RE relocations
dump_raw, dump_c, declare            text as bpftool prints it
data, layouts                        values in memory by their type
dedup, minimize, refs                fewer types

Import from the modules; this package itself loads nothing.
"""
