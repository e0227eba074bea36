"""What ran: records, stores, checkpoints, and how runs are found and compared."""
