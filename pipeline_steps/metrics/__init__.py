"""What maps and depth are measured by: numpy in, numbers out."""
