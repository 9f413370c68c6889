"""The HTML page of a run, a ranking or a removal: one file, drawn in the browser, without network."""
