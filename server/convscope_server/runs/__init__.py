"""What a run is: requests, states, the durable event log, the queue."""
