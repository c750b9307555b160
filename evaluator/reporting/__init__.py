"""What the pages are made of: charts, pictures, templates."""
