"""The HTML book: results, claims and tables turned into Markdown fragments, and the build itself. No number here is typed."""
