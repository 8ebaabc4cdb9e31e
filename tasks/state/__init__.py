"""Where files lie that decide something or were costly: a folder, or a prefix of a bucket, behind the same verbs."""
