"""Where small files lie that decide something: a folder, or a prefix of a bucket, behind the same few verbs."""
