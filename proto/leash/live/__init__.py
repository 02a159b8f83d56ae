"""What is going on in the runs of a host, as top and the status page of a gateway show it: one model for both."""
