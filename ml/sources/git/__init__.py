"""Source `git`: commits and what they change, from a clone on this machine or a mirror of a URL.

`source` is what there is to know of it: `repository` opens or mirrors, `commits` walks and compares, `payload` is what
lands and how it is read again.
"""
