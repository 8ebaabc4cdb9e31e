"""What no score shows: changed inputs, bias, forgetting."""
