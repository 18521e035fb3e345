"""Protocols as files."""
