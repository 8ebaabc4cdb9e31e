"""How soon `graftline watch` finds a drift, and how often it errs in a year without one."""
