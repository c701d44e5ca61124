"""What the evaluation found, as a page, Markdown, CSV and a table for the terminal."""
