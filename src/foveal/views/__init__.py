"""Views: a frozen description, a table of sampled numbers, and kernels that apply the table."""
