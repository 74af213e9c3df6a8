"""What notebooks and pages show: Plotly figures, pictures, and the views of each notebook."""
