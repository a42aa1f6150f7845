"""Map bodies in the dialect: what programs of the native engine have inlined, and what the Python map API calls.

A map's memory is one block: a control struct, then what its type needs, at offsets that follow from its shape. Bodies
are made for a shape, whose numbers are constants of the code, or for none: then they read them from the control struct,
and one code serves all maps of the type.
"""
