"""Ways to adapt that are tried out one after the other, judged by the validation rows."""
