"""One module for each step, named after its number. A step that has run somewhere is never changed."""
