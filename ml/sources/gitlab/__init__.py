"""Source `gitlab`: `server` is what there is to know of it, the rest is how."""
