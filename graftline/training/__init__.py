"""What lies behind the freeze point learns."""
