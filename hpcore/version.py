"""The version of hpcore; its distributions read it here."""

__version__ = "0.8.0"
