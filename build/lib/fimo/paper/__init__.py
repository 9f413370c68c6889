"""The paper's figures and tables, from finished runs."""
