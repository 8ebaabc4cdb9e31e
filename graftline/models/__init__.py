"""One classifier of every family: texts, pictures, sounds."""
