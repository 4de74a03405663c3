"""Who may do what besides the clients: the server API's keys, and what was called back."""
