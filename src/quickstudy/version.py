"""The version of quickstudy; the build reads it here."""

__version__ = "0.2.0"
