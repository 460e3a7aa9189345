"""What is measured in processes of its own: start-up, memory, and machines that others use too."""
