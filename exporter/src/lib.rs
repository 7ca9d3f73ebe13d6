//! oxidet exporter
