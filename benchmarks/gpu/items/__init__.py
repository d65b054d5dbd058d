"""What is measured, one item a file: ``measure(figures, setting)`` adds its figures as it gets them."""
