"""Base models compared on the project's own rows before anything is trained."""
