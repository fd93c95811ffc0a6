"""What helps somebody begin: a demonstration, a look at the installation, completion in the shell."""
