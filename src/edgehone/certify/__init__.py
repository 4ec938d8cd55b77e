"""The checks that decide whether a bundle is ready for production."""
