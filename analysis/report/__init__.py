"""The renderer of results and the drawings of the HTML report."""
