"""What notebooks and pages show: Plotly figures, grids of pictures, tables."""
