"""What is between a connection's frames and the partitions: who may, and what is asked."""
