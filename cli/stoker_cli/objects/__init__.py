"""What users write, from bytes in files to valid functions: YAML, schema, defaults, rules, and the watch on files."""
