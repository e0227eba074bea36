"""Features by place, for any network; evaluation mode for a while; a network's own normalisation."""
