//! Clusters of our members and Go's.
