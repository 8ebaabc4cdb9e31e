"""Behaviour that no score shows: under changed inputs, bias, forgetting."""
