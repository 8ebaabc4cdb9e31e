"""Where base models come from, where they are kept, and their lock."""
