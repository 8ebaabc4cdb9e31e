"""The science of transfer: what stored features of a frozen part tell before anything is trained."""
