"""The only place that has torch: steps runs, hosts plugins, holds models."""
