"""Data sets in, one manifest and one pack out."""
