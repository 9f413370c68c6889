"""What attribution methods are held against: scores that know nothing of gradients."""
