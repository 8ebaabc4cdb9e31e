"""What was served, looked at day by day: the reference, the looks that were had, and the page about them."""
