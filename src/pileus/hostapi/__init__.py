"""The versioned contract between control plane and host agent: what must be so (spec), what is so (observation)."""
