"""Who calls whom, when; and the command line."""
