"""Methods that know how much further training there was."""
