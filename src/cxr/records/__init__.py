"""What is known about the films: NIH's tables, radiologists' readings, splits by patient."""
