"""Starting files that `bench ... new` copies under the author's own names."""
