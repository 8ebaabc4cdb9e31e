"""Where else the digests of a history's records stand, so that a cut or rewritten history is noticed."""
