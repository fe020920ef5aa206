"""Tables of operator cases, one file a family; each has a list `CASES`."""
