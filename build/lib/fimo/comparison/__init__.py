"""Where scores meet the gold standard: agreement, tables, figures."""
