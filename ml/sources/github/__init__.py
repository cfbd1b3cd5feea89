"""Source `github_actions`: `actions` is what there is to know of it, the rest is how."""
