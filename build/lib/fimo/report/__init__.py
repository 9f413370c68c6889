"""Pictures and files of a comparison: figures, Markdown, CSV, LaTeX; no statistics."""
