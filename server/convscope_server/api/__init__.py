"""The port: gRPC servicers that translate and delegate, and nothing else."""
