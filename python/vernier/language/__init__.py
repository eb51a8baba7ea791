"""The language: traced values, the operations on them, and the builder that writes their IR."""
