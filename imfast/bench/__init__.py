"""`imfast bench`: the load generator as a child, the limit beside its figures, and the report.

`target` finds the server, `generator` runs the child, `limits` runs what the kernel does for the
same bytes, `figures` puts both side by side, `report` and `page` write it down, `plots` draws.
"""
