"""One worker process: the event loop that drives an engine and the partitions it owns.

Flow: `__main__` reads the start document, `lifecycle.Worker` wires engine, partitions, gateway and
control channel together, recovers and reports ready; from then on `tick.Tick` is called whenever
the engine's descriptor is readable, and that is all a worker does.
"""
