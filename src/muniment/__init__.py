"""Just-in-time privileged access whose evidence outlives the access."""

__version__ = "0.1.0"
