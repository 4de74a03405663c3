"""Native modules built from ``core_ext/``: numbers over a batch's buffer."""
