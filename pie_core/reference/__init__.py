"""The reference pages, written from the declarations of what is installed. Nothing in them is said anywhere else."""
