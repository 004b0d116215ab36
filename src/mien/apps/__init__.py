"""The page and the service."""
