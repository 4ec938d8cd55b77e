"""The page on which people try the server."""
